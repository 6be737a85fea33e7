//! A profile as the runtime specification has it, for runtimes that compile it themselves.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

use super::compile::arch_names;
use super::profile::{Action, Argument, Operator, Place, Profile, Rule};
use crate::spec::error::{Result, SpecError};

/// The rules that hold in a place.
pub(super) fn linux_seccomp(profile: &Profile, place: &Place) -> Result<LinuxSeccomp> {
    let mut syscalls = Vec::new();
    for rule in profile.rules_for(place)? {
        syscalls.push(syscall(rule)?);
    }
    let mut architectures = Vec::new();
    for name in arch_names(profile) {
        let arch: Arch = serde_json::from_value(name.into())
            .map_err(|_| SpecError::Profile { reason: format!("unknown architecture {name}") })?;
        architectures.push(arch);
    }
    let mut seccomp = LinuxSeccompBuilder::default()
        .default_action(action(profile.default_action))
        .architectures(architectures)
        .syscalls(syscalls)
        .build()?;
    seccomp.set_default_errno_ret(profile.default_errno_ret);
    Ok(seccomp)
}

fn syscall(rule: &Rule) -> Result<LinuxSyscall> {
    let names: Vec<_> = rule.calls().map(str::to_owned).collect();
    let mut syscall = LinuxSyscallBuilder::default().names(names).action(action(rule.action)).build()?;
    let args = rule.args.iter().map(argument).collect::<Result<Vec<_>>>()?;
    syscall.set_errno_ret(rule.errno_ret).set_args((!args.is_empty()).then_some(args));
    Ok(syscall)
}

fn argument(argument: &Argument) -> Result<LinuxSeccompArg> {
    let op = match argument.op {
        Operator::EqualTo => LinuxSeccompOperator::ScmpCmpEq,
        Operator::NotEqual => LinuxSeccompOperator::ScmpCmpNe,
        Operator::Less => LinuxSeccompOperator::ScmpCmpLt,
        Operator::LessEqual => LinuxSeccompOperator::ScmpCmpLe,
        Operator::GreaterEqual => LinuxSeccompOperator::ScmpCmpGe,
        Operator::Greater => LinuxSeccompOperator::ScmpCmpGt,
        Operator::MaskedEqual => LinuxSeccompOperator::ScmpCmpMaskedEq,
    };
    let index = usize::try_from(argument.index).unwrap_or(usize::MAX);
    let built = LinuxSeccompArgBuilder::default().index(index).value(argument.value).op(op);
    Ok(built.value_two(argument.value_two).build()?)
}

fn action(action: Action) -> LinuxSeccompAction {
    match action {
        Action::Allow => LinuxSeccompAction::ScmpActAllow,
        Action::Errno => LinuxSeccompAction::ScmpActErrno,
        Action::KillThread => LinuxSeccompAction::ScmpActKillThread,
        Action::KillProcess => LinuxSeccompAction::ScmpActKillProcess,
        Action::Trap => LinuxSeccompAction::ScmpActTrap,
        Action::Trace => LinuxSeccompAction::ScmpActTrace,
        Action::Log => LinuxSeccompAction::ScmpActLog,
    }
}
