//! Networks in a real kernel: each test has a scratch namespace that stands for the host, and another one for the world, so
//! that the machine's own links and rules stay untouched. They need root.

mod bridge;
mod names;
mod scratch;
