//! The storage suite over this driver.

sheave_conformance::storage_suite!(sheave_storage_overlay::linked());
