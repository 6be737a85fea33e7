//! The shim from outside: real containers, made of busybox. Needs root and `/bin/busybox` (Debian's busybox-static).

mod external;
mod harness;
mod isolation;
mod lifecycle;
mod resources;
mod timing;
