//! The engine's side of each kind: every method, async and typed. One line a method; a line that differs from the interface
//! does not compile.
//!
//! `plan` methods change something and return [`Planned`]; `read` methods return their answer.

use sheave_plugin::{Action, Descriptor, Finding, Label, Mount, build, hook, network, registry, storage, volume};
use sheave_types::Result;

use crate::plugin::{Planned, Plugin};

macro_rules! method {
    (plan $method:ident($($arg:ident: $ty:ty),*) -> $ret:ty) => {
        #[doc = concat!("`", stringify!($method), "` of the interface; commit its answer once the plan has been executed.")]
        ///
        /// # Errors
        /// The plugin's own, and those of the host: deadline, panic, quarantine.
        pub async fn $method(&self, $($arg: $ty),*) -> Result<Planned<$ret>> {
            Ok(self.call(stringify!($method), move |d| d.$method($($arg),*)).await?)
        }
    };
    (read $method:ident($($arg:ident: $ty:ty),*) -> $ret:ty) => {
        #[doc = concat!("`", stringify!($method), "` of the interface.")]
        ///
        /// # Errors
        /// The plugin's own, and those of the host: deadline, panic, quarantine.
        pub async fn $method(&self, $($arg: $ty),*) -> Result<$ret> {
            self.call_and_apply(stringify!($method), move |d| d.$method($($arg),*)).await
        }
    };
}

macro_rules! client {
    ($(#[$doc:meta])* $name:ident = $kind:ident { $($form:ident $method:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)* }) => {
        $(#[$doc])*
        pub type $name = Plugin<dyn $kind::AnyDriver>;

        impl Plugin<dyn $kind::AnyDriver> {
            $(method!($form $method($($arg: $ty),*) -> $ret);)*
        }
    };
}

client! {
    /// A storage driver.
    StoragePlugin = storage {
        read capabilities() -> storage::Capabilities;
        plan prepare(key: String, parent: Option<String>, labels: Vec<Label>) -> Vec<Action>;
        read mounts(key: String, read_only: bool) -> Vec<Mount>;
        plan commit(key: String, name: String, parent: Option<String>) -> Vec<Action>;
        plan remove(key: String) -> Vec<Action>;
        read list() -> Vec<storage::Snapshot>;
        read usage(key: String) -> Vec<String>;
        read check(found: Vec<String>) -> Vec<Finding>;
    }
}

client! {
    /// A network driver.
    NetworkPlugin = network {
        read capabilities() -> network::Capabilities;
        plan create(spec: network::Spec) -> network::Plan;
        read delete(id: String) -> ();
        plan attach(spec: network::Spec, endpoint: network::Endpoint) -> network::Plan;
        read detach(spec: network::Spec, endpoint: String) -> ();
        read status(spec: network::Spec) -> network::Status;
    }
}

client! {
    /// A volume driver.
    VolumePlugin = volume {
        read scope() -> volume::Scope;
        plan create(spec: volume::Spec) -> Vec<Action>;
        plan remove(name: String) -> Vec<Action>;
        plan mount(name: String, user: String) -> Vec<Mount>;
        read unmount(name: String, user: String) -> ();
        read list() -> Vec<volume::Info>;
        read get(name: String) -> volume::Info;
        read usage(name: String) -> Vec<String>;
    }
}

client! {
    /// A registry driver.
    RegistryPlugin = registry {
        read patterns() -> Vec<String>;
        read resolve(reference: registry::Reference) -> Vec<registry::Endpoint>;
        read authorize(endpoint: registry::Endpoint, challenges: Vec<String>, scopes: Vec<registry::Scope>, credentials: Option<registry::Credentials>) -> registry::Authorization;
        read locate(endpoint: registry::Endpoint, reference: registry::Reference, descriptor: Descriptor) -> Vec<registry::Endpoint>;
        read push_target(reference: registry::Reference) -> registry::Endpoint;
    }
}

client! {
    /// A build frontend.
    BuildPlugin = build {
        read detect(context: String) -> bool;
        read frontend(context: String, options: Vec<Label>) -> build::Graph;
    }
}

client! {
    /// A hook.
    HookPlugin = hook {
        read subscriptions() -> Vec<String>;
        read before(operation: hook::Operation) -> hook::Verdict;
        read after(operation: hook::Operation, outcome: hook::Outcome) -> ();
        read spec(operation: hook::Operation, spec: String) -> hook::Verdict;
    }
}
