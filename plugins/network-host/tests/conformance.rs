//! The suite that every network driver passes.

#[test]
fn conformance() {
    sheave_conformance::network::suite(sheave_network_host::linked());
}
