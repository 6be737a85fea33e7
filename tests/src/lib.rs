//! The harness of whole-engine tests.
