//! Filters loaded for real, in a forked child that then tries calls.
#![allow(unsafe_code, reason = "forks and makes system calls with arguments that no wrapper would pass")]

use std::sync::Arc;

use nix::libc;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use super::*;
use crate::spec::host::{HostFacts, Programs};

/// What a call gave: an error number, or 0.
type Outcome = i32;

const NAMESPACE: u64 = 0x1000_0000; // CLONE_NEWUSER

fn call(number: libc::c_long, arguments: [u64; 3]) -> Outcome {
    // SAFETY: the calls made here either fail or have no effect on memory: pointers are null.
    let result = unsafe { libc::syscall(number, arguments[0], arguments[1], arguments[2]) };
    if result == -1 { nix::errno::Errno::last_raw() } else { 0 }
}

/// A 32-bit call; its arguments are whatever is in the registers.
#[cfg(target_arch = "x86_64")]
fn call_i386(number: i64) -> Outcome {
    let result: i64;
    // SAFETY: the calls made here either fail or take no arguments; the registers that are lost are named.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") number => result, in("rcx") 0, in("rdx") 0, in("rsi") 0,
            in("rdi") 0, lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _);
    }
    (-(result as i32)).max(0)
}

/// Loads a filter in a child and returns what `attempt` gives there.
fn under(filter: &[u8], attempt: impl Fn() -> Outcome) -> Outcome {
    let mut program: Vec<libc::sock_filter> = filter
        .chunks_exact(8)
        .map(|c| libc::sock_filter {
            code: u16::from_ne_bytes([c[0], c[1]]),
            jt: c[2],
            jf: c[3],
            k: u32::from_ne_bytes([c[4], c[5], c[6], c[7]]),
        })
        .collect();
    let length = u16::try_from(program.len()).unwrap();
    let whole = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    // SAFETY: the child makes system calls alone and ends by _exit.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            // SAFETY: plain system calls; `whole` points to a program that lives until the end.
            unsafe {
                if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                    || libc::syscall(libc::SYS_seccomp, 1, 0, &raw const whole) != 0
                {
                    libc::_exit(255);
                }
                libc::_exit(attempt());
            }
        }
        ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
            WaitStatus::Exited(_, code) => {
                assert_ne!(code, 255, "the kernel refuses the filter");
                code
            }
            other => panic!("{other:?}"),
        },
    }
}

fn default_filter(capabilities: CapabilitySet) -> Arc<[u8]> {
    let kernel = HostFacts::detect(Programs::default()).kernel;
    SeccompFilters::new(kernel).filter(&SeccompChoice::Default, false, capabilities).unwrap().unwrap()
}

#[test]
fn the_default_profile_does_what_dockers_does() {
    let filter = default_filter(CapabilitySet::default_container());
    let check = |what: &str, expected: Outcome, attempt: &dyn Fn() -> Outcome| {
        assert_eq!(under(&filter, attempt), expected, "{what}");
    };
    check("getpid", 0, &|| call(libc::SYS_getpid, [0; 3]));
    check("mount", libc::EPERM, &|| call(libc::SYS_mount, [0; 3]));
    check("umount", libc::EPERM, &|| call(libc::SYS_umount2, [0; 3]));
    check("keyctl", libc::EPERM, &|| call(libc::SYS_keyctl, [0; 3]));
    check("add_key", libc::EPERM, &|| call(libc::SYS_add_key, [0; 3]));
    check("bpf", libc::EPERM, &|| call(libc::SYS_bpf, [99, 0, 0]));
    check("unshare", libc::EPERM, &|| call(libc::SYS_unshare, [NAMESPACE, 0, 0]));
    check("setns", libc::EPERM, &|| call(libc::SYS_setns, [0; 3]));
    check("io_uring_setup", libc::EPERM, &|| call(libc::SYS_io_uring_setup, [0; 3]));
    check("userfaultfd", libc::EPERM, &|| call(libc::SYS_userfaultfd, [0; 3]));
    check("swapon", libc::EPERM, &|| call(libc::SYS_swapon, [0; 3]));
    check("clone3", libc::ENOSYS, &|| call(libc::SYS_clone3, [0; 3]));
    check("clone of a namespace", libc::EPERM, &|| call(libc::SYS_clone, [NAMESPACE, 0, 0]));
    check("chroot", libc::EFAULT, &|| call(libc::SYS_chroot, [0; 3]));
    check("socket AF_UNIX", 0, &|| call(libc::SYS_socket, [1, 1, 0]));
    check("socket AF_INET", 0, &|| call(libc::SYS_socket, [2, 1, 0]));
    check("socket AF_NETLINK", 0, &|| call(libc::SYS_socket, [16, 3, 0]));
    check("socket AF_ALG", libc::EPERM, &|| call(libc::SYS_socket, [38, 5, 0]));
    check("socket AF_VSOCK", libc::EPERM, &|| call(libc::SYS_socket, [40, 1, 0]));
    let hidden = 0x1_0000_0000 + 40;
    check("socket AF_VSOCK with its upper half set", libc::EPERM, &|| call(libc::SYS_socket, [hidden, 1, 0]));
    check("personality of now", 0, &|| call(libc::SYS_personality, [0xffff_ffff, 0, 0]));
    check("personality without randomisation", libc::EPERM, &|| call(libc::SYS_personality, [0x0004_0000, 0, 0]));
    check("a call newer than the profile", libc::ENOSYS, &|| call(4000, [0; 3]));
    // Allowed calls that libseccomp does not know: whatever the kernel says, it is the kernel that says it.
    for (name, number) in [("fchmodat2", 452), ("mseal", 462), ("listmount", 458)] {
        let outcome = under(&filter, || call(number, [0, 0, 0]));
        assert_ne!(outcome, libc::EPERM, "{name}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_32_bit_programs_are_filtered_too() {
    let filter = default_filter(CapabilitySet::default_container());
    if under(&SeccompFilters::allow_all(), || call_i386(20)) != 0 {
        // A kernel without 32-bit programs has nothing to filter.
        return;
    }
    for (what, number, expected) in [
        ("getpid", 20, 0),
        ("mount", 21, libc::EPERM),
        ("keyctl", 288, libc::EPERM),
        ("clone3", 435, libc::ENOSYS),
        ("a call newer than the profile", 4000, libc::ENOSYS),
    ] {
        assert_eq!(under(&filter, || call_i386(number)), expected, "{what}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_x32_programs_are_filtered_too() {
    let filter = default_filter(CapabilitySet::default_container());
    let x32 = 0x4000_0000;
    assert_eq!(under(&filter, || call(x32 + libc::SYS_mount, [0; 3])), libc::EPERM);
    // Kernels without x32 answer ENOSYS, but the filter lets it pass.
    let outcome = under(&filter, || call(x32 + libc::SYS_getpid, [0; 3]));
    assert!(outcome == 0 || outcome == libc::ENOSYS, "{outcome}");
}

#[test]
fn capabilities_open_calls() {
    let filter = default_filter(CapabilitySet::all());
    assert_ne!(under(&filter, || call(libc::SYS_mount, [0; 3])), libc::EPERM);
    assert_eq!(under(&filter, || call(libc::SYS_clone3, [0; 3])), libc::EINVAL);
    assert_eq!(under(&filter, || call(libc::SYS_keyctl, [0; 3])), libc::EPERM);
}

#[test]
fn a_profile_of_its_own() {
    let filters = SeccompFilters::new((6, 1));
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["getppid", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95},
        {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [
            {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}]}"#;
    let choice = SeccompChoice::from_option(text).unwrap();
    let filter = filters.filter(&choice, true, CapabilitySet::default()).unwrap().unwrap();
    assert_eq!(under(&filter, || call(libc::SYS_getppid, [0; 3])), 95);
    assert_eq!(under(&filter, || call(libc::SYS_getpid, [0; 3])), 0);
    assert_eq!(under(&filter, || call(libc::SYS_socket, [1, 1, 0])), libc::EPERM);
    assert_eq!(under(&filter, || call(libc::SYS_socket, [2, 1, 0])), libc::EPERM);
    assert_eq!(under(&filter, || call(libc::SYS_socket, [16, 3, 0])), 0);
}

#[test]
fn filters_are_kept() {
    let filters = SeccompFilters::new((6, 1));
    let get =
        |choice: &SeccompChoice, privileged, capabilities| filters.filter(choice, privileged, capabilities).unwrap();
    let (default, all) = (CapabilitySet::default_container(), CapabilitySet::all());
    let first = get(&SeccompChoice::Default, false, default).unwrap();
    assert!(Arc::ptr_eq(&first, &get(&SeccompChoice::Default, false, default).unwrap()));
    assert!(!Arc::ptr_eq(&first, &get(&SeccompChoice::Default, false, all).unwrap()));
    assert_eq!(get(&SeccompChoice::Default, true, all), None);
    assert_eq!(get(&SeccompChoice::Unconfined, false, default), None);
    assert!(first.len().is_multiple_of(8) && first.len() / 8 < 4096, "{}", first.len() / 8);
}

#[test]
fn other_runtimes_are_given_the_same() {
    let filters = SeccompFilters::new((6, 1));
    let of = |choice: &SeccompChoice, privileged| {
        filters.specification(choice, privileged, CapabilitySet::default_container()).unwrap()
    };
    assert_eq!((of(&SeccompChoice::Unconfined, false), of(&SeccompChoice::Default, true)), (None, None));
    let json = serde_json::to_value(of(&SeccompChoice::Default, false)).unwrap();
    assert_eq!(json["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(json["architectures"][0], "SCMP_ARCH_X86_64");
    let rule = |name: &str| {
        let rules = json["syscalls"].as_array().unwrap();
        rules.iter().find(|rule| rule["names"][0] == name).cloned()
    };
    assert_eq!(rule("clone3").unwrap()["errnoRet"], libc::ENOSYS);
    let mask = serde_json::json!([{"index": 0, "value": 0x7E02_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]);
    assert_eq!(rule("clone").unwrap()["args"], mask);
    assert_eq!(rule("open_by_handle_at"), None);
}

impl SeccompFilters {
    /// A filter of one instruction, which allows.
    fn allow_all() -> Vec<u8> {
        [[6, 0, 0, 0], 0x7fff_0000u32.to_ne_bytes()].concat()
    }
}
