//! Which device nodes a container may use: rules on version 1, a small eBPF program on version 2.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use sheave_shim::protocol::Stage;

use crate::failure::{Step, failure};
use crate::sys;

const MKNOD: u8 = 1;
const READ: u8 = 2;
const WRITE: u8 = 4;

/// One rule; a later one overrides earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Whether it allows or denies.
    pub allow: bool,
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
    access: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    All,
    /// `BPF_DEVCG_DEV_BLOCK`
    Block = 1,
    /// `BPF_DEVCG_DEV_CHAR`
    Char = 2,
}

/// What every container may do, added by runc to any specification: make nodes, use the default devices.
const DEFAULTS: &[(Kind, Option<u32>, Option<u32>, u8)] = &[
    (Kind::Char, None, None, MKNOD),
    (Kind::Block, None, None, MKNOD),
    (Kind::Char, Some(1), Some(3), MKNOD | READ | WRITE),
    (Kind::Char, Some(1), Some(8), MKNOD | READ | WRITE),
    (Kind::Char, Some(1), Some(7), MKNOD | READ | WRITE),
    (Kind::Char, Some(5), Some(0), MKNOD | READ | WRITE),
    (Kind::Char, Some(1), Some(5), MKNOD | READ | WRITE),
    (Kind::Char, Some(1), Some(9), MKNOD | READ | WRITE),
    (Kind::Char, Some(136), None, MKNOD | READ | WRITE),
    (Kind::Char, Some(5), Some(2), MKNOD | READ | WRITE),
];

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::All => 'a',
            Kind::Block => 'b',
            Kind::Char => 'c',
        };
        write!(f, "{kind} ")?;
        for (number, end) in [(self.major, ':'), (self.minor, ' ')] {
            match number {
                Some(number) => write!(f, "{number}{end}")?,
                None => write!(f, "*{end}")?,
            }
        }
        for (bit, letter) in [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')] {
            if self.access & bit != 0 {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// The rules of a specification and those that every container has.
pub fn with_defaults(rules: &[LinuxDeviceCgroup]) -> Step<Vec<Rule>> {
    let mut list = rules.iter().map(rule).collect::<Step<Vec<_>>>()?;
    list.extend(DEFAULTS.iter().map(|(kind, major, minor, access)| Rule {
        allow: true,
        kind: *kind,
        major: *major,
        minor: *minor,
        access: *access,
    }));
    Ok(list)
}

fn rule(given: &LinuxDeviceCgroup) -> Step<Rule> {
    let bad = |what: &str| failure(Stage::Cgroup, format!("a device rule has a bad {what}"));
    let kind = match given.typ() {
        None | Some(LinuxDeviceType::A) => Kind::All,
        Some(LinuxDeviceType::B) => Kind::Block,
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Kind::Char,
        Some(LinuxDeviceType::P) => return Err(bad("type")),
    };
    let number = |number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(number) => u32::try_from(number).map(Some).map_err(|_| bad("number")),
    };
    let mut access = 0;
    for letter in given.access().as_deref().unwrap_or("rwm").chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            _ => return Err(bad("access")),
        };
    }
    let (major, minor) = (number(given.major())?, number(given.minor())?);
    // The kernel takes `a` for everything whatever stands behind it: so must be meant.
    if kind == Kind::All && (major.is_some() || minor.is_some() || access != READ | WRITE | MKNOD) {
        return Err(bad("type"));
    }
    Ok(Rule { allow: given.allow(), kind, major, minor, access })
}

type Key = (Kind, Option<u32>, Option<u32>);

/// The rules as version 1 would hold them: a default and the exceptions from it.
fn state(rules: &[Rule]) -> (bool, BTreeMap<Key, u8>) {
    let mut default = true;
    let mut exceptions: BTreeMap<Key, u8> = BTreeMap::new();
    for rule in rules {
        if rule.kind == Kind::All {
            default = rule.allow;
            exceptions.clear();
            continue;
        }
        let access = exceptions.entry((rule.kind, rule.major, rule.minor)).or_default();
        *access = if rule.allow == default { *access & !rule.access } else { *access | rule.access };
    }
    exceptions.retain(|_, access| *access != 0);
    (default, exceptions)
}

/// An instruction of eBPF.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: to | from << 4, offset, immediate }
}

const LOAD_WORD: u8 = 0x61;
const MOVE_32: u8 = 0xbc;
const SHIFT_RIGHT_32: u8 = 0x74;
const AND_32: u8 = 0x54;
const JUMP_NOT_EQUAL: u8 = 0x55;
const JUMP_EQUAL: u8 = 0x15;
const MOVE_CONSTANT: u8 = 0xb7;
const EXIT: u8 = 0x95;

/// A program of type `BPF_PROG_TYPE_CGROUP_DEVICE` for the rules. Register 2 holds the type, 3 the access, 4 and 5 the
/// numbers of the device, 1 is free once they are loaded.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    let (default, exceptions) = state(rules);
    let mut program = vec![
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(MOVE_32, 3, 2, 0, 0),
        instruction(SHIFT_RIGHT_32, 3, 0, 0, 16),
        instruction(AND_32, 2, 0, 0, 0xffff),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    for ((kind, major, minor), access) in exceptions {
        let conditions = [(2, Some(kind as u32)), (4, major), (5, minor)];
        let tests: Vec<(u8, u32)> = conditions.into_iter().filter_map(|(r, value)| Some((r, value?))).collect();
        // Behind the tests: move, and, jump, constant, exit.
        let mut left = tests.len() as i16 + 5;
        for (register, value) in tests {
            left -= 1;
            program.push(instruction(JUMP_NOT_EQUAL, register, 0, left, value as i32));
        }
        // An exception from "deny" allows what is asked for as a whole, one from "allow" denies any part of it.
        let (mask, jump) = if default { (access, JUMP_EQUAL) } else { (!access & 7, JUMP_NOT_EQUAL) };
        program.push(instruction(MOVE_32, 1, 3, 0, 0));
        program.push(instruction(AND_32, 1, 0, 0, i32::from(mask)));
        program.push(instruction(jump, 1, 0, 2, 0));
        program.push(instruction(MOVE_CONSTANT, 0, 0, 0, i32::from(!default)));
        program.push(instruction(EXIT, 0, 0, 0, 0));
    }
    program.push(instruction(MOVE_CONSTANT, 0, 0, 0, i32::from(default)));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    rest: [u64; 4],
}

#[repr(C)]
struct AttachAttributes {
    cgroup: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Has the kernel ask the program for these rules about every device that the cgroup's processes open.
pub fn attach(cgroup: &OwnedFd, rules: &[Rule]) -> sys::Result<()> {
    const PROG_LOAD: i32 = 5;
    const PROG_ATTACH: i32 = 8;
    const TYPE_CGROUP_DEVICE: u32 = 15;
    const ATTACH_CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let instructions = program(rules);
    let mut load = LoadAttributes {
        program_type: TYPE_CGROUP_DEVICE,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache".as_ptr() as u64,
        rest: [0; 4],
    };
    let program = sys::bpf_fd(PROG_LOAD, &mut load)?;
    let mut attach = AttachAttributes {
        cgroup: cgroup.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    sys::bpf(PROG_ATTACH, &mut attach).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(json: &str) -> Vec<Rule> {
        let list: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).expect(json);
        list.iter().map(|given| rule(given).expect("rule")).collect()
    }

    /// Runs a program on (type, access, major, minor).
    fn run(program: &[Instruction], kind: u32, access: u8, major: u32, minor: u32) -> bool {
        let mut registers = [0u32; 6];
        let mut at = 0;
        loop {
            let Instruction { code, registers: both, offset, immediate } = program[at];
            let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
            at += 1;
            match code {
                LOAD_WORD => registers[to] = [u32::from(access) << 16 | kind, major, minor][offset as usize / 4],
                MOVE_32 => registers[to] = registers[from],
                SHIFT_RIGHT_32 => registers[to] >>= immediate,
                AND_32 => registers[to] &= immediate as u32,
                MOVE_CONSTANT => registers[to] = immediate as u32,
                JUMP_EQUAL if registers[to] == immediate as u32 => at += offset as usize,
                JUMP_NOT_EQUAL if registers[to] != immediate as u32 => at += offset as usize,
                JUMP_EQUAL | JUMP_NOT_EQUAL => {}
                EXIT => return registers[0] == 1,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn programs_decide_as_version_1() {
        let closed = r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rw"},
            {"allow":true,"type":"c","major":136,"access":"rwm"},{"allow":true,"type":"b","access":"m"},
            {"allow":false,"type":"c","major":1,"minor":3,"access":"w"}]"#;
        let open = r#"[{"allow":true,"access":"rwm"},{"allow":false,"type":"c","major":10,"minor":229,"access":"w"}]"#;
        for (json, kind, access, major, minor, allowed) in [
            (closed, 2, READ, 1, 3, true),
            (closed, 2, READ | WRITE, 1, 3, false),
            (closed, 2, READ, 1, 4, false),
            (closed, 1, READ, 1, 3, false),
            (closed, 2, READ | WRITE | MKNOD, 136, 77, true),
            (closed, 1, MKNOD, 8, 0, true),
            (closed, 1, MKNOD | READ, 8, 0, false),
            (open, 2, READ | WRITE, 10, 229, false),
            (open, 2, READ, 10, 229, true),
            (open, 1, READ | WRITE | MKNOD, 8, 0, true),
        ] {
            let program = program(&rules(json));
            assert_eq!(run(&program, kind, access, major, minor), allowed, "{json} {kind} {access} {major}:{minor}");
        }
    }

    #[test]
    fn version_1_text() {
        let json = r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rw"},
            {"allow":true,"type":"b","access":"m"}]"#;
        let texts: Vec<String> = rules(json).iter().map(Rule::to_string).collect();
        assert_eq!(texts, ["a *:* rwm", "c 1:3 rw", "b *:* m"]);
    }

    #[test]
    fn refuses_what_the_kernel_would_misread() {
        for bad in [
            r#"{"allow":true,"type":"a","major":1,"access":"rwm"}"#,
            r#"{"allow":true,"access":"r"}"#,
            r#"{"allow":true,"type":"c","access":"x"}"#,
            r#"{"allow":true,"type":"p"}"#,
        ] {
            assert!(rule(&serde_json::from_str(bad).expect(bad)).is_err(), "{bad}");
        }
    }

    /// Needs root and version 2, beside version 1 too.
    #[test]
    fn the_kernel_accepts_the_program() {
        let unified = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].iter().map(std::path::Path::new);
        let mount = unified.into_iter().find(|path| path.join("cgroup.controllers").exists()).expect("cgroup2");
        let dir = mount.join(format!("sheave-shim-bpf-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("mkdir");
        let rules = with_defaults(&[]).expect("rules");
        let result = super::super::open_dir(&dir).and_then(|cgroup| attach(&cgroup, &rules));
        std::fs::remove_dir(&dir).expect("rmdir");
        assert_eq!(result, Ok(()));
    }
}
