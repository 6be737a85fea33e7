//! The files a container gets in `/etc`: `hosts`, `resolv.conf`, `hostname`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use super::build::ContainerMount;
use super::error::{Result, SpecError};

/// What a line of `ExtraHosts` points to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtraHostAddress {
    /// An address.
    Address(IpAddr),
    /// The addresses of the host, as containers see it.
    HostGateway,
}

/// Reads one of `ExtraHosts`: `name:address`, `name=address` or `name:host-gateway`.
///
/// # Errors
/// Docker's texts.
pub fn extra_host(text: &str) -> Result<(&str, ExtraHostAddress)> {
    let refuse = |text: String| Err(SpecError::refused("HostConfig.ExtraHosts", text));
    // A name has no colon and no equals sign, an IPv6 address has colons.
    let Some(at) = text.find([':', '=']).filter(|at| *at > 0) else {
        return refuse(format!("bad format for add-host: {text:?}"));
    };
    let (name, address) = (&text[..at], text[at + 1..].trim());
    if name.contains(char::is_whitespace) || name.contains('\0') {
        return refuse(format!("bad format for add-host: {text:?}"));
    }
    if address == "host-gateway" {
        return Ok((name, ExtraHostAddress::HostGateway));
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    match bare.parse() {
        Ok(address) => Ok((name, ExtraHostAddress::Address(address))),
        Err(_) => refuse(format!("invalid IP address in add-host: {address:?}")),
    }
}

/// What `/etc/hosts` is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    /// The container's name, domain and address in each network.
    pub own: Vec<(IpAddr, String)>,
    /// Further lines: an address and its names.
    pub extra: Vec<(IpAddr, String)>,
    /// Whether the container has IPv6.
    pub ipv6: bool,
}

/// The content of `/etc/hosts`.
pub fn hosts(hosts: &Hosts) -> String {
    let mut text = "127.0.0.1\tlocalhost\n".to_owned();
    if hosts.ipv6 {
        text.push_str(
            "::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n\
             ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
        );
    }
    for (address, names) in hosts.extra.iter().chain(&hosts.own) {
        let _ = writeln!(text, "{address}\t{names}");
    }
    text
}

/// The content of `/etc/hosts` for a container in the host's network: the host's with further lines.
pub fn host_network_hosts(host_file: &str, extra: &[(IpAddr, String)]) -> String {
    let mut text = host_file.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for (address, names) in extra {
        let _ = writeln!(text, "{address}\t{names}");
    }
    text
}

/// The names of a container in `/etc/hosts`: with its domain first, if it has one.
pub fn own_names(hostname: &str, domainname: &str) -> String {
    if domainname.is_empty() { hostname.to_owned() } else { format!("{hostname}.{domainname} {hostname}") }
}

/// The content of `/etc/hostname`.
pub fn hostname(hostname: &str, domainname: &str) -> String {
    if domainname.is_empty() { format!("{hostname}\n") } else { format!("{hostname}.{domainname}\n") }
}

/// What a container asks of its name resolution.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// Servers; empty are the host's.
    pub servers: Vec<String>,
    /// Search domains; empty are the host's, `.` alone is none.
    pub search: Vec<String>,
    /// Options; empty are the host's.
    pub options: Vec<String>,
}

/// How a container resolves names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The content of `/etc/resolv.conf`.
    pub file: String,
    /// The servers that names are asked of: those in the file, or with the engine's own server those behind it.
    pub upstream: Vec<IpAddr>,
}

#[derive(Default)]
struct ResolvConf {
    servers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
}

fn parse(text: &str) -> ResolvConf {
    let mut read = ResolvConf::default();
    for line in text.lines() {
        let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
        match words.next() {
            Some("nameserver") => read.servers.extend(words.next().map(str::to_owned)),
            // The last of these lines counts, resolv.conf(5).
            Some("search" | "domain") => read.search = words.map(str::to_owned).collect(),
            Some("options") => read.options.extend(words.map(str::to_owned)),
            _ => {}
        }
    }
    read
}

/// Whether the host's `resolv.conf` names `systemd-resolved` alone; then
/// `/run/systemd/resolve/resolv.conf` is the one to give to [`resolv_conf`].
pub fn is_systemd_stub(host_file: &str) -> bool {
    parse(host_file).servers == ["127.0.0.53"]
}

/// Whether a server can be reached from another network namespace.
fn is_reachable(server: &str) -> bool {
    server.split('%').next().unwrap_or_default().parse::<IpAddr>().is_ok_and(|address| !address.is_loopback())
}

/// The content of `/etc/resolv.conf`, from the host's.
///
/// `embedded` is whether the container asks the engine's own server at 127.0.0.11, as in networks that users made: then
/// the servers asked for or the host's are behind it. Otherwise they are in the file. The host's own servers at loopback
/// addresses cannot be reached from a container and are left out; when none is left, public ones stand in, as in Docker.
/// `ipv6` is whether the container has IPv6.
pub fn resolv_conf(host_file: &str, dns: &Dns, embedded: bool, ipv6: bool) -> Resolution {
    let host = parse(host_file);
    let mut servers: Vec<String> = if dns.servers.is_empty() {
        host.servers.into_iter().filter(|server| is_reachable(server)).collect()
    } else {
        dns.servers.clone()
    };
    if servers.is_empty() {
        servers.extend(["8.8.8.8", "8.8.4.4"].map(str::to_owned));
        if ipv6 {
            servers.extend(["2001:4860:4860::8888", "2001:4860:4860::8844"].map(str::to_owned));
        }
    }
    let upstream = servers.iter().filter_map(|server| server.parse().ok()).collect();
    let search = match dns.search.as_slice() {
        [] => host.search,
        [dot] if dot == "." => Vec::new(),
        given => given.to_vec(),
    };
    let mut options = if dns.options.is_empty() { host.options } else { dns.options.clone() };
    if embedded {
        servers = vec!["127.0.0.11".to_owned()];
        if !options.iter().any(|option| option.starts_with("ndots:")) {
            options.push("ndots:0".to_owned());
        }
    }
    let mut file = String::new();
    for server in &servers {
        let _ = writeln!(file, "nameserver {server}");
    }
    for (word, list) in [("search", search), ("options", options)] {
        if !list.is_empty() {
            let _ = writeln!(file, "{word} {}", list.join(" "));
        }
    }
    Resolution { file, upstream }
}

/// The mounts of the three files, kept in `directory` on the host, but for those that the container mounts itself.
pub fn mounts(directory: &Path, own: &[ContainerMount], read_only: bool) -> Vec<ContainerMount> {
    let taken: BTreeSet<_> = own.iter().map(|mount| mount.destination.as_str()).collect();
    ["resolv.conf", "hostname", "hosts"]
        .into_iter()
        .filter(|name| !taken.contains(format!("/etc/{name}").as_str()))
        .map(|name| ContainerMount { read_only, ..ContainerMount::bind(directory.join(name), format!("/etc/{name}")) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extra_hosts() {
        for (text, expected) in [
            ("a:1.2.3.4", Ok(("a", "1.2.3.4"))),
            ("a=1.2.3.4", Ok(("a", "1.2.3.4"))),
            ("a:::1", Ok(("a", "::1"))),
            ("a:[::1]", Ok(("a", "::1"))),
            ("a:host-gateway", Ok(("a", "gateway"))),
            ("a", Err("bad format for add-host: \"a\"")),
            (":1.2.3.4", Err("bad format for add-host: \":1.2.3.4\"")),
            ("a b:1.2.3.4", Err("bad format for add-host: \"a b:1.2.3.4\"")),
            ("a:x", Err("invalid IP address in add-host: \"x\"")),
        ] {
            let found = extra_host(text).map_err(|e| e.to_string()).map(|(name, address)| {
                let address = match address {
                    ExtraHostAddress::Address(address) => address.to_string(),
                    ExtraHostAddress::HostGateway => "gateway".to_owned(),
                };
                (name, address)
            });
            let expected = expected.map(|(n, a)| (n, a.to_owned())).map_err(str::to_owned);
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn hosts_have_extra_lines_before_their_own() {
        let given = Hosts {
            own: vec![("172.17.0.2".parse().unwrap(), own_names("h", "d.x"))],
            extra: vec![("1.2.3.4".parse().unwrap(), "a".to_owned())],
            ipv6: false,
        };
        assert_eq!(hosts(&given), "127.0.0.1\tlocalhost\n1.2.3.4\ta\n172.17.0.2\th.d.x h\n");
        assert!(hosts(&Hosts { ipv6: true, ..given }).contains("::1\tlocalhost ip6-localhost ip6-loopback\n"));
        assert_eq!(host_network_hosts("x", &[]), "x\n");
        assert_eq!((hostname("h", ""), hostname("h", "d")), ("h\n".to_owned(), "h.d\n".to_owned()));
    }

    fn check(host: &str, dns: Dns, embedded: bool, file: &str, upstream: &[&str]) {
        let found = resolv_conf(host, &dns, embedded, false);
        let upstream: Vec<IpAddr> = upstream.iter().map(|a| a.parse().unwrap()).collect();
        assert_eq!(found, Resolution { file: file.to_owned(), upstream }, "{host} {dns:?}");
    }

    #[test]
    fn name_resolution() {
        let host = "# by hand\nnameserver 127.0.0.1\nnameserver 10.0.0.1\nsearch a.b c\noptions edns0\n";
        let list = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        check(host, Dns::default(), false, "nameserver 10.0.0.1\nsearch a.b c\noptions edns0\n", &["10.0.0.1"]);
        check(
            host,
            Dns::default(),
            true,
            "nameserver 127.0.0.11\nsearch a.b c\noptions edns0 ndots:0\n",
            &["10.0.0.1"],
        );
        let own = Dns { servers: list(&["1.1.1.1"]), search: list(&["."]), options: list(&["ndots:3"]) };
        check(host, own.clone(), false, "nameserver 1.1.1.1\noptions ndots:3\n", &["1.1.1.1"]);
        check(host, own, true, "nameserver 127.0.0.11\noptions ndots:3\n", &["1.1.1.1"]);
        let none = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";
        check("nameserver 127.0.0.53\n", Dns::default(), false, none, &["8.8.8.8", "8.8.4.4"]);
        assert!(is_systemd_stub("nameserver 127.0.0.53\n") && !is_systemd_stub(host));
    }

    #[test]
    fn own_mounts_of_the_files_win() {
        let own = [ContainerMount::bind("/x", "/etc/hosts")];
        let found: Vec<_> = mounts(Path::new("/c"), &own, false).into_iter().map(|m| m.destination).collect();
        assert_eq!(found, ["/etc/resolv.conf", "/etc/hostname"]);
    }
}
