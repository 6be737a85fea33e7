//! Resource limits of processes, cut down to what the engine itself may set.

use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType};
use sheave_api::containers::Ulimit;

use super::error::{Result, SpecError};
use super::host::{HostFacts, RLIMITS};

/// Turns ulimits into the specification's. Where the engine may not raise a limit above its own hard one, both are cut
/// down to it with a warning: a container that asks for more files than the host gives should run with what there is.
///
/// # Errors
/// An unknown name, a soft limit above the hard one.
pub fn resolve(asked: &[Ulimit], host: &HostFacts, warnings: &mut Vec<String>) -> Result<Vec<PosixRlimit>> {
    let refuse = |text: String| SpecError::refused("HostConfig.Ulimits", text);
    let mut limits = Vec::new();
    for ulimit in asked {
        let name = ulimit.name.to_ascii_lowercase();
        if !RLIMITS.iter().any(|(known, _)| *known == name) {
            return Err(refuse(format!("invalid ulimit type: {}", ulimit.name)));
        }
        if ulimit.soft < -1 || ulimit.hard < -1 {
            return Err(refuse(format!("invalid ulimit {name}: {}:{}", ulimit.soft, ulimit.hard)));
        }
        let (soft, hard) = (value(ulimit.soft), value(ulimit.hard));
        if soft > hard {
            let text = format!(
                "ulimit soft limit must be less than or equal to hard limit: {} > {}",
                ulimit.soft, ulimit.hard
            );
            return Err(refuse(text));
        }
        let own = host.hard_rlimits.iter().find(|(known, _)| *known == name).map_or(u64::MAX, |(_, hard)| *hard);
        let most = if host.may_raise_limits() { u64::MAX } else { own };
        if hard > most {
            let asked = if ulimit.hard == -1 { "unlimited".to_owned() } else { ulimit.hard.to_string() };
            warnings.push(format!(
                "This engine has no CAP_SYS_RESOURCE: the hard limit of ulimit {name} was lowered from {asked} to {most}."
            ));
        }
        let kind = PosixRlimitType::try_from(format!("RLIMIT_{}", name.to_ascii_uppercase()).as_str())
            .map_err(|_| refuse(format!("invalid ulimit type: {}", ulimit.name)))?;
        limits.push(PosixRlimitBuilder::default().typ(kind).soft(soft.min(most)).hard(hard.min(most)).build()?);
    }
    Ok(limits)
}

fn value(limit: i64) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked: (&str, i64, i64), expected: Result<(u64, u64, usize), &str>) {
        let ulimit = Ulimit { name: asked.0.to_owned(), soft: asked.1, hard: asked.2 };
        let mut warnings = Vec::new();
        let found = resolve(&[ulimit], &HostFacts::example(), &mut warnings).map_err(|e| e.to_string());
        let found = found.map(|limits| (limits[0].soft(), limits[0].hard(), warnings.len()));
        assert_eq!(found, expected.map_err(str::to_owned), "{asked:?}");
    }

    #[test]
    fn limits_are_cut_down_to_the_engines_own() {
        check(("nofile", 100, 200), Ok((100, 200, 0)));
        check(("nofile", 1024, 1_048_576), Ok((1024, 20_000, 1)));
        check(("nofile", 1_048_576, 1_048_576), Ok((20_000, 20_000, 1)));
        check(("memlock", -1, -1), Ok((20_000, 20_000, 1)));
        check(("core", 0, 0), Ok((0, 0, 0)));
        check(("nofile", 300, 200), Err("ulimit soft limit must be less than or equal to hard limit: 300 > 200"));
        check(("nofile", -1, 200), Err("ulimit soft limit must be less than or equal to hard limit: -1 > 200"));
        check(("files", 1, 1), Err("invalid ulimit type: files"));
    }

    #[test]
    fn an_engine_with_the_capability_raises_them() {
        let host = HostFacts { bounding: super::super::CapabilitySet::all(), ..HostFacts::example() };
        let ulimit = Ulimit { name: "nofile".to_owned(), soft: -1, hard: -1 };
        let mut warnings = Vec::new();
        let limits = resolve(&[ulimit], &host, &mut warnings).unwrap();
        assert_eq!((limits[0].hard(), warnings.len()), (u64::MAX, 0));
    }
}
