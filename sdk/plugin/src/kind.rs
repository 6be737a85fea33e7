//! One module a kind: the trait that authors implement, its types, and the form in which the engine holds a driver.

macro_rules! kind {
    ($(#[$doc:meta])* $kind:ident { $($method:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)* }) => {
        $(#[$doc])*
        pub mod $kind {
            pub use crate::generated::worlds::$kind::exports::sheave::plugin::$kind::{GuestDriver as Driver, *};
            #[doc(hidden)]
            pub use crate::generated::worlds::$kind::exports::sheave::plugin::$kind::Guest;

            /// A driver of this kind as the engine holds it, whatever carries it. Each method is that of [`Driver`].
            #[allow(missing_docs, clippy::missing_errors_doc, reason = "documented at the trait it mirrors")]
            pub trait AnyDriver: Send + Sync {
                $(fn $method(&self, $($arg: $ty),*) -> Result<$ret, Error>;)*
            }

            impl<D: Driver + Send + Sync + 'static> AnyDriver for D {
                $(fn $method(&self, $($arg: $ty),*) -> Result<$ret, Error> {
                    Driver::$method(self, $($arg),*)
                })*
            }

            /// The names of the methods, in the order of the interface.
            pub const METHODS: &[&str] = &[$(stringify!($method)),*];
        }
    };
}

kind! {
    /// How image layers and the writable layer of a container are laid out on disk.
    storage {
        capabilities() -> Capabilities;
        prepare(key: String, parent: Option<String>, labels: Vec<Label>) -> Vec<Action>;
        mounts(key: String, read_only: bool) -> Vec<Mount>;
        commit(key: String, name: String, parent: Option<String>) -> Vec<Action>;
        remove(key: String) -> Vec<Action>;
        list() -> Vec<Snapshot>;
        usage(key: String) -> Vec<String>;
        check(found: Vec<String>) -> Vec<Finding>;
    }
}

kind! {
    /// The topology of a network.
    network {
        capabilities() -> Capabilities;
        create(spec: Spec) -> Plan;
        delete(id: String) -> ();
        attach(spec: Spec, endpoint: Endpoint) -> Plan;
        detach(spec: Spec, endpoint: String) -> ();
        status(spec: Spec) -> Status;
    }
}

kind! {
    /// Where a volume's data is.
    volume {
        scope() -> Scope;
        create(spec: Spec) -> Vec<Action>;
        remove(name: String) -> Vec<Action>;
        mount(name: String, user: String) -> Vec<Mount>;
        unmount(name: String, user: String) -> ();
        list() -> Vec<Info>;
        get(name: String) -> Info;
        usage(name: String) -> Vec<String>;
    }
}

kind! {
    /// Where an image is and who may read it.
    registry {
        patterns() -> Vec<String>;
        resolve(reference: Reference) -> Vec<Endpoint>;
        authorize(endpoint: Endpoint, challenges: Vec<String>, scopes: Vec<Scope>, credentials: Option<Credentials>) -> Authorization;
        locate(endpoint: Endpoint, reference: Reference, descriptor: Descriptor) -> Vec<Endpoint>;
        push_target(reference: Reference) -> Endpoint;
    }
}

kind! {
    /// What a build file means.
    build {
        detect(context: String) -> bool;
        frontend(context: String, options: Vec<Label>) -> Graph;
    }
}

kind! {
    /// Whether and how an operation goes on.
    hook {
        subscriptions() -> Vec<String>;
        before(operation: Operation) -> Verdict;
        after(operation: Operation, outcome: Outcome) -> ();
        spec(operation: Operation, spec: String) -> Verdict;
    }
}
