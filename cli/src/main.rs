//! The Sheave command line.

fn main() {}
