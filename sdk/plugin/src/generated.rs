//! The types and traits that wit-bindgen makes from `sdk/wit`.

#![allow(missing_docs, clippy::all, rust_2018_idioms, reason = "generated code")]

/// One module a world; `plugin!` reaches the export macros through it.
pub mod worlds {
    macro_rules! world {
        ($module:ident, $world:literal, $export:literal, $path:literal) => {
            world!($module, $world, $export, $path, {
                "sheave:plugin/types@0.1.0": crate::generated::worlds::storage::sheave::plugin::types,
                "sheave:plugin/host@0.1.0": crate::generated::worlds::storage::sheave::plugin::host,
            });
        };
        ($module:ident, $world:literal, $export:literal, $path:literal, {$($with:tt)*}) => {
            pub mod $module {
                wit_bindgen::generate!({
                    path: "../wit/0.1",
                    world: $world,
                    generate_all,
                    additional_derives: [PartialEq, Clone, serde::Serialize, serde::Deserialize],
                    pub_export_macro: true,
                    export_macro_name: $export,
                    default_bindings_module: $path,
                    with: { $($with)* },
                });
            }
        };
    }

    world!(storage, "storage-plugin", "export_storage", "sheave_plugin::__worlds::storage", {});
    world!(network, "network-plugin", "export_network", "sheave_plugin::__worlds::network");
    world!(volume, "volume-plugin", "export_volume", "sheave_plugin::__worlds::volume");
    world!(registry, "registry-plugin", "export_registry", "sheave_plugin::__worlds::registry");
    world!(build, "build-plugin", "export_build", "sheave_plugin::__worlds::build");
    world!(hook, "hook-plugin", "export_hook", "sheave_plugin::__worlds::hook");
}

pub use worlds::storage::sheave::plugin::types as shared;
