//! What clients of the Docker Engine API see.

mod system;
