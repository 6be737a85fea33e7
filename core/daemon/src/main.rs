//! The Sheave daemon.

fn main() {}
