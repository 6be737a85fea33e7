//! One conformance suite a plugin kind, run over every carrier.
//!
//! A suite holds a driver to the text of its interface in `sdk/wit`: a failure quotes the sentence that was broken. It
//! takes any `AnyDriver` and the [`FakeHost`] that serves the driver's host calls, so the same suite runs over a linked
//! crate, a native library and a component.

mod ground;
mod host;
pub mod network;
pub mod registry;
pub mod scripted;
pub mod storage;
pub mod volume;

pub use ground::Ground;
pub use host::FakeHost;

/// Fails the test with the sentence of the interface that was broken.
#[macro_export]
macro_rules! rule {
    ($holds:expr, $text:literal $(, $($context:tt)+)?) => {
        if !$holds {
            let context = String::new() $(+ &format!($($context)+))?;
            panic!("broken contract: \"{}\"\n  {}", $text, context);
        }
    };
}
