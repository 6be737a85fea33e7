//! The driver options of `docker volume create --opt`: `type`, `device`, `o`, `size`.

use std::collections::BTreeMap;

use sheave_plugin::{Error, FsMount};

/// What a volume's options ask for.
#[derive(Debug, PartialEq)]
pub(crate) struct Wanted {
    /// A file system to mount instead of the volume's own directory.
    pub(crate) mount: Option<FsMount>,
    /// How much the volume's directory may hold, in bytes.
    pub(crate) bytes: Option<u64>,
}

/// Reads the options, with the texts of Docker's `local` driver.
///
/// # Errors
/// `invalid` with the option at fault.
pub(crate) fn read(options: &BTreeMap<String, String>) -> Result<Wanted, Error> {
    if let Some(key) = options.keys().find(|k| !matches!(k.as_str(), "type" | "device" | "o" | "size")) {
        return Err(Error::invalid(key, format!("invalid option: {key:?}")));
    }
    let get = |key: &str| options.get(key).map(String::as_str).filter(|v| !v.is_empty());
    let bytes = get("size").map(|size| bytes("size", size)).transpose()?;
    let (Some(fstype), Some(device)) = (get("type"), get("device")) else {
        let given = ["device", "o", "type"].into_iter().find(|k| get(k).is_some());
        let missing = if get("type").is_none() { "type" } else { "device" };
        return match given {
            Some(_) => Err(Error::invalid(missing, format!("missing required option: {missing:?}"))),
            None => Ok(Wanted { mount: None, bytes }),
        };
    };
    let mut list: Vec<String> = get("o").map_or_else(Vec::new, |o| o.split(',').map(str::to_owned).collect());
    if let Some(bad) = list.iter().find(|o| o.is_empty() || o.contains(['\0', '\n'])) {
        return Err(Error::invalid("o", format!("invalid option: {bad:?} in o")));
    }
    let bind = list.iter().any(|o| o == "bind" || o == "rbind");
    let fstype = if bind { "bind" } else { fstype };
    list.retain(|o| o != "bind");
    if bind && !device.starts_with('/') {
        return Err(Error::invalid("device", format!("a bind needs an absolute path, not {device:?}")));
    }
    if fstype == "none" {
        return Err(Error::invalid("type", "type \"none\" needs o=bind"));
    }
    Ok(Wanted { mount: Some(FsMount { fstype: fstype.to_owned(), source: device.to_owned(), options: list }), bytes })
}

/// A size such as `512`, `64k`, `1.5GB`, `2GiB`: units of 1024, as Docker reads them.
pub(crate) fn bytes(field: &str, text: &str) -> Result<u64, Error> {
    let bad = || Error::invalid(field, format!("invalid size: '{text}'"));
    let trimmed = text.trim().to_ascii_lowercase();
    let digits = trimmed.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = trimmed[digits.len()..].trim_start();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(bad()),
    };
    let number: f64 = digits.parse().map_err(|_| bad())?;
    let size = number * 1024f64.powi(power);
    if !(0.0..9.0e18).contains(&size) {
        return Err(bad());
    }
    Ok(size as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes() {
        for (text, size) in [
            ("512", Some(512)),
            ("64k", Some(64 << 10)),
            ("1.5GB", Some(3 << 29)),
            ("2GiB", Some(2 << 30)),
            ("10 MB", Some(10 << 20)),
            ("", None),
            ("-1", None),
            ("10x", None),
            ("1e400", None),
            ("gb", None),
        ] {
            assert_eq!(bytes("size", text).ok(), size, "{text}");
        }
    }

    #[test]
    fn reads_options() {
        let mount = |fstype: &str, source: &str, options: &[&str]| FsMount {
            fstype: fstype.into(),
            source: source.into(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
        };
        type Case<'a> = (&'a [(&'a str, &'a str)], Result<Option<FsMount>, &'a str>);
        let cases: &[Case<'_>] = &[
            (&[], Ok(None)),
            (&[("size", "10M")], Ok(None)),
            (
                &[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=1000")],
                Ok(Some(mount("tmpfs", "tmpfs", &["size=1m", "uid=1000"]))),
            ),
            (&[("type", "none"), ("device", "/srv"), ("o", "bind,ro")], Ok(Some(mount("bind", "/srv", &["ro"])))),
            (
                &[("type", "nfs"), ("device", ":/e"), ("o", "addr=10.0.0.1,rw")],
                Ok(Some(mount("nfs", ":/e", &["addr=10.0.0.1", "rw"]))),
            ),
            (&[("type", "tmpfs")], Err("missing required option: \"device\"")),
            (&[("device", "x")], Err("missing required option: \"type\"")),
            (&[("o", "ro")], Err("missing required option: \"type\"")),
            (&[("colour", "red")], Err("invalid option: \"colour\"")),
            (&[("type", "none"), ("device", "srv"), ("o", "bind")], Err("absolute")),
            (&[("type", "none"), ("device", "/srv")], Err("o=bind")),
            (&[("type", "tmpfs"), ("device", "t"), ("o", "a,,b")], Err("in o")),
        ];
        for (options, want) in cases {
            let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            match (read(&options), want) {
                (Ok(got), Ok(want)) => assert_eq!(&got.mount, want, "{options:?}"),
                (Err(got), Err(part)) => assert!(got.message.contains(part), "{options:?}: {}", got.message),
                (got, want) => panic!("{options:?}: {got:?}, not {want:?}"),
            }
        }
    }
}
