//! From a profile to a filter program.
//!
//! libseccomp makes the program, as a binary tree by call number, which the kernel loads in a third of the time of a
//! linear one. It gives every call without a rule the default error, `EPERM`, also calls that are newer than the profile
//! and of which it says nothing. Programs probe for those and expect `ENOSYS`, or they break instead of falling back.
//! So a few instructions go before the program: a call with a number above all that the profile names, for its
//! architecture, is answered `ENOSYS`. Numbers of calls that the profile names and libseccomp does not know yet are in
//! a table here (from 424 on, calls have one number on all architectures); those allowed pass in the same place.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsFd;

use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::profile::{Action, Argument, Operator, Place, Profile, Rule};
use crate::spec::error::{Result, SpecError};

/// Calls that the oldest libseccomp this engine runs with (2.5.4) does not know, with their number.
const NEWER: [(&str, u32); 19] = [
    ("cachestat", 451),
    ("fchmodat2", 452),
    ("map_shadow_stack", 453),
    ("futex_wake", 454),
    ("futex_wait", 455),
    ("futex_requeue", 456),
    ("statmount", 457),
    ("listmount", 458),
    ("lsm_get_self_attr", 459),
    ("lsm_set_self_attr", 460),
    ("lsm_list_modules", 461),
    ("mseal", 462),
    ("setxattrat", 463),
    ("getxattrat", 464),
    ("listxattrat", 465),
    ("removexattrat", 466),
    ("open_tree_attr", 467),
    ("file_getattr", 468),
    ("file_setattr", 469),
];

/// An architecture: its name in profiles, in libseccomp, and its number in a call's data (`audit.h`).
type Arch = (&'static str, ScmpArch, u32);

/// The architectures whose programs this one runs, the native one first.
#[cfg(target_arch = "x86_64")]
const ARCHES: &[Arch] = &[
    ("SCMP_ARCH_X86_64", ScmpArch::X8664, 0xC000_003E),
    ("SCMP_ARCH_X86", ScmpArch::X86, 0x4000_0003),
    // Its calls have the native number with bit 30 set, and so are above every limit: it has none.
    ("SCMP_ARCH_X32", ScmpArch::X32, 0),
];
/// The architectures whose programs this one runs, the native one first.
#[cfg(target_arch = "aarch64")]
const ARCHES: &[Arch] =
    &[("SCMP_ARCH_AARCH64", ScmpArch::Aarch64, 0xC000_00B7), ("SCMP_ARCH_ARM", ScmpArch::Arm, 0x4000_0028)];

/// The native architecture as Go names it, for the conditions of rules.
#[cfg(target_arch = "x86_64")]
pub(super) const GO_ARCH: &str = "amd64";
/// The native architecture as Go names it, for the conditions of rules.
#[cfg(target_arch = "aarch64")]
pub(super) const GO_ARCH: &str = "arm64";

/// Bit 30 of a call's number: an x32 call.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;
/// There is nothing like x32.
#[cfg(target_arch = "aarch64")]
const X32: u32 = 0;

fn failed(step: &'static str) -> impl Fn(SeccompError) -> SpecError {
    move |source| SpecError::Seccomp { step, source }
}

/// Compiles a profile for a place into the bytes of a program, 8 an instruction (`struct sock_filter`).
pub(super) fn compile(profile: &Profile, place: &Place) -> Result<Vec<u8>> {
    let rules = profile.rules_for(place)?;
    let default = action(profile.default_action, profile.default_errno_ret);
    let mut context = ScmpFilterContext::new(default).map_err(failed("a new filter"))?;
    // Level 2 is the tree; libseccomp has it since 2.5.
    context.set_ctl_optimize(2).map_err(failed("the tree"))?;
    let arches = arches(profile);
    for (_, arch, _) in &arches {
        context.add_arch(*arch).map_err(failed("an architecture"))?;
    }
    for rule in &rules {
        add(&mut context, rule, default)?;
    }
    let file = memfd_create(c"sheave-seccomp", MFdFlags::MFD_CLOEXEC).map_err(|error| SpecError::Io {
        action: "creating",
        path: "memfd".into(),
        source: error.into(),
    })?;
    context.export_bpf(file.as_fd()).map_err(failed("its export"))?;
    let fail = |source| SpecError::Io { action: "reading", path: "memfd".into(), source };
    let mut file = File::from(file);
    let mut program = Vec::new();
    file.rewind().map_err(fail)?;
    file.read_to_end(&mut program).map_err(fail)?;
    if profile.default_action != Action::Errno {
        return Ok(program);
    }
    let mut whole: Vec<u8> = prologue(profile, &rules, &arches).iter().flat_map(Instruction::bytes).collect();
    whole.append(&mut program);
    Ok(whole)
}

/// The architectures of a profile that this one has; all when it names none.
fn arches(profile: &Profile) -> Vec<Arch> {
    let native = ARCHES[0].0;
    let mapped = profile.arch_map.iter().find(|map| map.architecture == native);
    let named: Vec<&String> = match mapped {
        Some(map) => map.sub_architectures.iter().collect(),
        None => profile.architectures.iter().collect(),
    };
    let all = profile.arch_map.is_empty() && profile.architectures.is_empty();
    ARCHES.iter().filter(|(name, ..)| all || *name == native || named.iter().any(|n| n == name)).copied().collect()
}

/// The names of the architectures of a profile that this one has.
pub(super) fn arch_names(profile: &Profile) -> Vec<&'static str> {
    arches(profile).into_iter().map(|(name, ..)| name).collect()
}

fn action(action: Action, errno: Option<u32>) -> ScmpAction {
    let errno = errno.and_then(|errno| i32::try_from(errno).ok());
    match action {
        Action::Allow => ScmpAction::Allow,
        Action::KillThread => ScmpAction::KillThread,
        Action::KillProcess => ScmpAction::KillProcess,
        Action::Trap => ScmpAction::Trap,
        Action::Log => ScmpAction::Log,
        Action::Errno => ScmpAction::Errno(errno.unwrap_or(nix::libc::EPERM)),
        Action::Trace => {
            ScmpAction::Trace(errno.and_then(|e| u16::try_from(e).ok()).unwrap_or(nix::libc::EPERM as u16))
        }
    }
}

fn add(context: &mut ScmpFilterContext, rule: &Rule, default: ScmpAction) -> Result<()> {
    let action = action(rule.action, rule.errno_ret);
    // libseccomp refuses a rule that says what happens anyway.
    if action == default {
        return Ok(());
    }
    let comparisons: Vec<_> = rule.args.iter().map(comparison).collect();
    let mut indices: Vec<_> = rule.args.iter().map(|argument| argument.index).collect();
    indices.sort_unstable();
    let repeated = indices.windows(2).any(|pair| pair[0] == pair[1]);
    for name in rule.calls() {
        // A call it does not know is newer than it, or was taken out: without a rule it gets the default.
        let Ok(call) = ScmpSyscall::from_name(name) else { continue };
        let fail = failed("a rule");
        if comparisons.is_empty() {
            context.add_rule(action, call).map_err(fail)?;
        } else if repeated {
            // Two conditions on one argument are alternatives, as in every runtime.
            for comparison in &comparisons {
                context.add_rule_conditional(action, call, &[*comparison]).map_err(&fail)?;
            }
        } else {
            context.add_rule_conditional(action, call, &comparisons).map_err(fail)?;
        }
    }
    Ok(())
}

fn comparison(argument: &Argument) -> ScmpArgCompare {
    let Argument { index, value, value_two, op } = *argument;
    match op {
        Operator::EqualTo => ScmpArgCompare::new(index, ScmpCompareOp::Equal, value),
        Operator::NotEqual => ScmpArgCompare::new(index, ScmpCompareOp::NotEqual, value),
        Operator::Less => ScmpArgCompare::new(index, ScmpCompareOp::Less, value),
        Operator::LessEqual => ScmpArgCompare::new(index, ScmpCompareOp::LessOrEqual, value),
        Operator::GreaterEqual => ScmpArgCompare::new(index, ScmpCompareOp::GreaterEqual, value),
        Operator::Greater => ScmpArgCompare::new(index, ScmpCompareOp::Greater, value),
        Operator::MaskedEqual => ScmpArgCompare::new(index, ScmpCompareOp::MaskedEqual(value), value_two),
    }
}

/// One instruction of a filter program, `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

impl Instruction {
    fn bytes(&self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&self.code.to_ne_bytes());
        bytes[2] = self.if_true;
        bytes[3] = self.if_false;
        bytes[4..].copy_from_slice(&self.value.to_ne_bytes());
        bytes
    }
}

const LOAD_WORD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_ALWAYS: u16 = 0x05;
const RETURN: u16 = 0x06;
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;
const RETURN_ALLOW: u32 = 0x7fff_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;

/// The instructions before libseccomp's: those not returned here go on to it.
fn prologue(profile: &Profile, rules: &[&Rule], arches: &[Arch]) -> Vec<Instruction> {
    let newer = |name: &str| NEWER.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let unknown = |name: &str| ScmpSyscall::from_name(name).is_err();
    let mut allowed: Vec<u32> = rules
        .iter()
        .filter(|rule| rule.action == Action::Allow && rule.args.is_empty())
        .flat_map(|rule| rule.calls())
        .filter(|name| unknown(name))
        .filter_map(newer)
        .collect();
    allowed.sort_unstable();
    allowed.dedup();
    let mut program = vec![Instruction { code: LOAD_WORD, if_true: 0, if_false: 0, value: ARCH_AT }];
    for (_, arch, audit) in arches.iter().filter(|(_, _, audit)| *audit != 0) {
        let known = |name: &str| {
            let call = ScmpSyscall::from_name_by_arch(name, *arch).ok()?;
            u32::try_from(call.as_raw_syscall()).ok()
        };
        let named = profile.rules.iter().flat_map(Rule::calls);
        let Some(last) = named.filter_map(|name| known(name).or_else(|| newer(name))).max() else { continue };
        let mut part = vec![Instruction { code: LOAD_WORD, if_true: 0, if_false: 0, value: NUMBER_AT }];
        for number in &allowed {
            part.push(Instruction { code: JUMP_EQUAL, if_true: 0, if_false: 1, value: *number });
            part.push(Instruction { code: RETURN, if_true: 0, if_false: 0, value: RETURN_ALLOW });
        }
        // x32 calls have numbers of their own above all others: libseccomp's program knows them.
        if X32 != 0 {
            part.push(Instruction { code: JUMP_GREATER, if_true: 2, if_false: 0, value: X32 - 1 });
        }
        part.push(Instruction { code: JUMP_GREATER, if_true: 0, if_false: 1, value: last });
        let enosys = RETURN_ERRNO | nix::libc::ENOSYS.unsigned_abs();
        part.push(Instruction { code: RETURN, if_true: 0, if_false: 0, value: enosys });
        // Whatever was loaded, libseccomp's program loads again; the next architecture must not be looked at.
        part.push(Instruction { code: LOAD_WORD, if_true: 0, if_false: 0, value: ARCH_AT });
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        program.push(Instruction { code: JUMP_EQUAL, if_true: 1, if_false: 0, value: *audit });
        program.push(Instruction { code: JUMP_ALWAYS, if_true: 0, if_false: 0, value: length });
        program.append(&mut part);
    }
    program
}
