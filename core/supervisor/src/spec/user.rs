//! The user of a container, by the files of its root file system.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::error::{Result, SpecError};

/// The most that is read of `/etc/passwd` or `/etc/group`; an image decides what they hold.
const MOST: u64 = 16 << 20;

/// The largest id there is.
const MOST_ID: u32 = 2_147_483_647;

/// A user with numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Its groups, the first is `gid`.
    pub additional_gids: Vec<u32>,
    /// Its home directory, `/` when it has none.
    pub home: String,
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn passwd(text: &str) -> impl Iterator<Item = Passwd<'_>> {
    text.lines().filter_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let name = fields.first().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        Some(Passwd {
            name,
            uid: fields.get(2)?.parse().ok()?,
            gid: fields.get(3)?.parse().ok()?,
            home: fields.get(5).copied().unwrap_or_default(),
        })
    })
}

fn groups(text: &str) -> impl Iterator<Item = Group<'_>> {
    text.lines().filter_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let name = fields.first().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        Some(Group { name, gid: fields.get(2)?.parse().ok()?, members: fields.get(3).copied().unwrap_or_default() })
    })
}

/// Resolves `user[:group]` and further groups by the files of the root file system that `root` is open at.
///
/// # Errors
/// `unable to find user x: no matching entries in passwd file` and the same for groups, as Docker; files that cannot be
/// read (missing ones are empty).
pub fn resolve(root: BorrowedFd<'_>, user: &str, group_add: &[String]) -> Result<ResolvedUser> {
    let passwd_file = read_below(root, Path::new("etc/passwd"))?;
    let group_file = read_below(root, Path::new("etc/group"))?;
    resolve_in(&passwd_file, &group_file, user, group_add)
}

/// The same with the files' contents.
///
/// # Errors
/// As [`resolve`], but for reading.
pub fn resolve_in(passwd_file: &str, group_file: &str, user: &str, group_add: &[String]) -> Result<ResolvedUser> {
    let (user_part, group_part) = user.split_once(':').unwrap_or((user, ""));
    let number = number(user_part)?;
    let entry = passwd(passwd_file).find(|entry| match (user_part, number) {
        ("", _) => entry.uid == 0,
        // A number is always an id, also where a user has it for a name.
        (_, Some(uid)) => entry.uid == uid,
        (name, None) => entry.name == name,
    });
    let mut resolved = match (&entry, number) {
        (Some(entry), _) => ResolvedUser {
            uid: entry.uid,
            gid: entry.gid,
            additional_gids: Vec::new(),
            home: if entry.home.is_empty() { "/" } else { entry.home }.to_owned(),
        },
        (None, Some(uid)) => ResolvedUser { uid, gid: 0, additional_gids: Vec::new(), home: "/".to_owned() },
        (None, None) if user_part.is_empty() => {
            ResolvedUser { uid: 0, gid: 0, additional_gids: Vec::new(), home: "/".to_owned() }
        }
        (None, None) => {
            return Err(SpecError::NoSuchUser { what: "user", name: user_part.to_owned(), file: "passwd" });
        }
    };
    if resolved.uid > MOST_ID || resolved.gid > MOST_ID {
        return Err(SpecError::IdRange);
    }
    let mut gids = Vec::new();
    if group_part.is_empty() {
        // Membership is by name: a user without an entry is in no group.
        if let Some(entry) = &entry {
            let is_member = |group: &Group<'_>| group.members.split(',').any(|member| member == entry.name);
            gids.extend(groups(group_file).filter(is_member).map(|group| group.gid));
        }
    } else {
        resolved.gid = gid(group_part, group_file)?;
    }
    for group in group_add {
        gids.push(gid(group, group_file)?);
    }
    resolved.additional_gids.push(resolved.gid);
    for gid in gids {
        if !resolved.additional_gids.contains(&gid) {
            resolved.additional_gids.push(gid);
        }
    }
    Ok(resolved)
}

fn number(text: &str) -> Result<Option<u32>> {
    match text.parse::<i64>() {
        Ok(number) => match u32::try_from(number) {
            Ok(id) if id <= MOST_ID => Ok(Some(id)),
            _ => Err(SpecError::IdRange),
        },
        Err(_) => Ok(None),
    }
}

fn gid(text: &str, group_file: &str) -> Result<u32> {
    if let Some(gid) = number(text)? {
        return Ok(gid);
    }
    match groups(group_file).find(|group| group.name == text) {
        Some(group) if group.gid <= MOST_ID => Ok(group.gid),
        Some(_) => Err(SpecError::IdRange),
        None => Err(SpecError::NoSuchUser { what: "group", name: text.to_owned(), file: "group" }),
    }
}

/// Opens and reads a file below a root file system, whose links may not lead out of it. A missing one is empty.
fn read_below(root: BorrowedFd<'_>, path: &Path) -> Result<String> {
    let fail =
        |source: std::io::Error| SpecError::Io { action: "reading", path: PathBuf::from("/").join(path), source };
    let how = OpenHow::new()
        // A pipe in its place must not hold the engine up.
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = match openat2(root.as_fd(), path, how) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(String::new()),
        Err(error) => return Err(fail(error.into())),
    };
    if !file.metadata().map_err(fail)?.is_file() {
        return Err(fail(std::io::Error::other("not a regular file")));
    }
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes).map_err(fail)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    const PASSWD: &str = "# users\nroot:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/var/www:/bin/sh\n\
        1000:x:7:8::/n:\nbad line\nhuge:x:4294967295:0::/:\nnohome:x:50:51\n";
    const GROUP: &str = "root:x:0:\nwww:x:33:\nextra:x:50:www,root\nmore:x:51:www\n";

    fn check(user: &str, add: &[&str], expected: Result<(u32, &[u32], &str), &str>) {
        let add: Vec<_> = add.iter().map(|g| (*g).to_owned()).collect();
        let found = resolve_in(PASSWD, GROUP, user, &add).map_err(|e| e.to_string());
        let found = found.map(|u| (u.uid, u.additional_gids, u.home));
        let expected = expected.map(|(uid, gids, home)| (uid, gids.to_vec(), home.to_owned()));
        assert_eq!(found, expected.map_err(str::to_owned), "{user} {add:?}");
    }

    #[test]
    fn users_and_groups() {
        check("", &[], Ok((0, &[0, 50], "/root")));
        check("root", &[], Ok((0, &[0, 50], "/root")));
        check("0", &[], Ok((0, &[0, 50], "/root")));
        check("www", &[], Ok((33, &[33, 50, 51], "/var/www")));
        check("33", &[], Ok((33, &[33, 50, 51], "/var/www")));
        check("www:extra", &[], Ok((33, &[50], "/var/www")));
        check("www:99", &["root", "7"], Ok((33, &[99, 0, 7], "/var/www")));
        check("4242", &[], Ok((4242, &[0], "/")));
        check("4242:4243", &["extra"], Ok((4242, &[4243, 50], "/")));
        check("1000", &[], Ok((1000, &[0], "/")));
        check("nohome", &[], Ok((50, &[51], "/")));
        check("nobody", &[], Err("unable to find user nobody: no matching entries in passwd file"));
        check("www:none", &[], Err("unable to find group none: no matching entries in group file"));
        check("", &["none"], Err("unable to find group none: no matching entries in group file"));
        check("-1", &[], Err("uids and gids must be in range 0-2147483647"));
        check("4294967295", &[], Err("uids and gids must be in range 0-2147483647"));
        check("huge", &[], Err("uids and gids must be in range 0-2147483647"));
    }

    #[test]
    fn files_are_opened_below_the_root_only() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("passwd"), "evil:x:1:1::/:\n").unwrap();
        let root = tempfile::tempdir().unwrap();
        let directory = File::open(root.path()).unwrap();
        let resolve = |user: &str| resolve(directory.as_fd(), user, &[]).map_err(|e| e.to_string());
        assert_eq!(resolve("").unwrap().uid, 0, "an image without files");
        fs::create_dir(root.path().join("etc")).unwrap();
        // An absolute link is one within the root.
        fs::write(root.path().join("users"), "me:x:5:6::/me:\n").unwrap();
        symlink("/users", root.path().join("etc/passwd")).unwrap();
        assert_eq!(resolve("me").unwrap().gid, 6);
        let away = format!("../../..{}/passwd", outside.path().display());
        fs::remove_file(root.path().join("etc/passwd")).unwrap();
        symlink(away, root.path().join("etc/passwd")).unwrap();
        assert!(resolve("evil").unwrap_err().contains("unable to find user evil"));
        fs::remove_file(root.path().join("etc/passwd")).unwrap();
        nix::unistd::mkfifo(&root.path().join("etc/passwd"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(resolve("me").unwrap_err(), "reading /etc/passwd: not a regular file");
    }

    proptest! {
        #[test]
        fn nothing_panics(passwd in "[a:0-9,\n]{0,64}", user in "\\PC{0,12}") {
            let _ = resolve_in(&passwd, &passwd, &user, std::slice::from_ref(&user));
        }
    }
}
