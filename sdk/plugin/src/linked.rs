//! A plugin as a crate linked into an engine, and the macro that exports a plugin on every carrier.

use crate::{Error, build, hook, network, registry, storage, volume};

/// Makes a driver from its configuration (JSON).
pub type Make<D> = fn(String) -> Result<Box<D>, Error>;

/// A plugin linked into the engine: its manifest and what makes its drivers.
#[derive(Clone)]
pub struct Linked {
    /// The text of `sheave-plugin.toml`.
    pub manifest: &'static str,
    /// Makes its storage drivers.
    pub storage: Option<Make<dyn storage::AnyDriver>>,
    /// Makes its network drivers.
    pub network: Option<Make<dyn network::AnyDriver>>,
    /// Makes its volume drivers.
    pub volume: Option<Make<dyn volume::AnyDriver>>,
    /// Makes its registry drivers.
    pub registry: Option<Make<dyn registry::AnyDriver>>,
    /// Makes its build frontends.
    pub build: Option<Make<dyn build::AnyDriver>>,
    /// Makes its hooks.
    pub hook: Option<Make<dyn hook::AnyDriver>>,
}

impl Linked {
    /// A plugin of no kind yet.
    pub fn new(manifest: &'static str) -> Self {
        Self { manifest, storage: None, network: None, volume: None, registry: None, build: None, hook: None }
    }
}

/// Exports a plugin: `plugin!(storage: MyStorage, network: MyNetwork);` once, at the crate's root, beside `sheave-plugin.toml`.
///
/// Linked, it makes the function `linked()` for the engine's list of plugins; as a component, the exports of each kind.
#[macro_export]
macro_rules! plugin {
    ($($kind:ident: $driver:ty),+ $(,)?) => {
        /// This plugin, to be linked into an engine.
        pub fn linked() -> $crate::Linked {
            let mut linked = $crate::Linked::new(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/sheave-plugin.toml")));
            $(linked.$kind = Some(|config| {
                <$driver as $crate::$kind::Driver>::new(config)
                    .map(|driver| Box::new(driver) as Box<dyn $crate::$kind::AnyDriver>)
            });)+
            linked
        }

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;
            $($crate::__export!($kind, Component, $driver);)+
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    (storage, $component:ident, $driver:ty) => {
        impl $crate::storage::Guest for $component {
            type Driver = $driver;
        }
        $crate::__worlds::storage::export_storage!($component with_types_in $crate::__worlds::storage);
    };
    (network, $component:ident, $driver:ty) => {
        impl $crate::network::Guest for $component {
            type Driver = $driver;
        }
        $crate::__worlds::network::export_network!($component with_types_in $crate::__worlds::network);
    };
    (volume, $component:ident, $driver:ty) => {
        impl $crate::volume::Guest for $component {
            type Driver = $driver;
        }
        $crate::__worlds::volume::export_volume!($component with_types_in $crate::__worlds::volume);
    };
    (registry, $component:ident, $driver:ty) => {
        impl $crate::registry::Guest for $component {
            type Driver = $driver;
        }
        $crate::__worlds::registry::export_registry!($component with_types_in $crate::__worlds::registry);
    };
    (build, $component:ident, $driver:ty) => {
        impl $crate::build::Guest for $component {
            type Driver = $driver;
        }
        $crate::__worlds::build::export_build!($component with_types_in $crate::__worlds::build);
    };
    (hook, $component:ident, $driver:ty) => {
        impl $crate::hook::Guest for $component {
            type Driver = $driver;
        }
        $crate::__worlds::hook::export_hook!($component with_types_in $crate::__worlds::hook);
    };
}
