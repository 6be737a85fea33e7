//! The rules of the code that can be counted. Each test lists every violation with its file, so one run shows all there is to do.
//!
//! The scan is of lines, not of syntax trees: `cargo fmt --check` runs before it, so items start in column 0 and end with `}` there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const MOST_LINES: usize = 500;
const MOST_METHODS: usize = 25;
const MOST_FIELDS: usize = 10;
const BANNED_NAMES: [&str; 8] = ["util", "utils", "common", "helper", "helpers", "misc", "manager", "managers"];
const FOLDERS: [&str; 5] = ["core", "plugins", "sdk", "cli", "tests"];

/// Core crates from the bottom up: a crate may use those of a lower rank. The shim uses none.
const RANKS: [(&str, u32); 12] = [
    ("shim", 0),
    ("telemetry", 1),
    ("metadata", 2),
    ("host", 3),
    ("hooks", 4),
    ("storage", 5),
    ("network", 5),
    ("images", 6),
    ("supervisor", 7),
    ("build", 7),
    ("http", 8),
    ("daemon", 9),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the repository").to_owned()
}

/// Fails with the whole list.
fn check(rule: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{rule}:\n  {}", violations.join("\n  "));
}

/// The Rust source files below the five folders, as paths relative to the root, sorted.
fn sources() -> Vec<PathBuf> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a readable folder").map(|e| e.expect("a readable entry")) {
            let path = entry.path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for folder in FOLDERS {
        walk(&root().join(folder), &mut found);
    }
    found.sort();
    found.iter().map(|path| path.strip_prefix(root()).expect("below the root").to_owned()).collect()
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn subfolders(of: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root().join(of))
        .expect("a readable folder")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| path.join("Cargo.toml").exists())
        .map(|path| path.file_name().expect("an entry has a name").to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The file without its `#[cfg(test)]` modules.
fn without_tests(text: &str) -> Vec<&str> {
    let mut kept = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let module =
            line == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.ends_with('{'));
        if module {
            for inner in lines.by_ref() {
                if inner == "}" {
                    break;
                }
            }
        } else {
            kept.push(line);
        }
    }
    kept
}

/// Tests, and what is made from the interface definitions, may be as long as they need to be.
fn is_test_or_generated(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
        || path
            .file_stem()
            .is_some_and(|stem| stem == "tests" || stem == "generated" || stem.to_string_lossy().ends_with("_tests"))
}

/// An item that starts in column 0 and has a body: its head up to `{`, the attributes before it, and its lines.
struct Item<'a> {
    head: String,
    attributes: String,
    body: Vec<&'a str>,
}

fn items<'a>(lines: &[&'a str]) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    let mut attributes = String::new();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        at += 1;
        if line.starts_with("#[") || line.starts_with("///") || line.starts_with(')') || line.starts_with(' ') {
            attributes.push_str(line);
            continue;
        }
        let word = line.trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ").trim_start_matches("pub ");
        let word = word.trim_start_matches("unsafe ");
        if !["impl", "struct", "trait"].iter().any(|kind| word.starts_with(kind)) {
            attributes.clear();
            continue;
        }
        let mut head = word.to_owned();
        while !head.ends_with('{') && !head.ends_with(';') && !head.ends_with('}') && at < lines.len() {
            head.push(' ');
            head.push_str(lines[at].trim());
            at += 1;
        }
        let mut body = Vec::new();
        if head.ends_with('{') {
            while at < lines.len() && lines[at] != "}" {
                body.push(lines[at]);
                at += 1;
            }
        }
        items.push(Item { head, attributes: std::mem::take(&mut attributes), body });
    }
    items
}

/// `Name` of `impl<T> path::Name<T> where …`; nothing for `impl Trait for Name`.
fn inherent_type(head: &str) -> Option<String> {
    let rest = head.strip_prefix("impl")?;
    let rest = if rest.starts_with('<') { skip_generics(rest) } else { rest };
    if rest.contains(" for ") {
        return None;
    }
    let name: String = rest.trim().chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
    name.rsplit("::").next().map(str::to_owned)
}

fn skip_generics(text: &str) -> &str {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if !text[..at].ends_with('-') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[at + 1..];
        }
    }
    text
}

fn methods(body: &[&str]) -> usize {
    body.iter()
        .filter(|line| line.starts_with("    ") && !line.starts_with("     ") && is_function(line.trim()))
        .count()
}

fn is_function(line: &str) -> bool {
    if line.starts_with("//") {
        return false;
    }
    line.split(['(', '<']).next().is_some_and(|before| before.split_whitespace().rev().nth(1) == Some("fn"))
        || line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub(super) ")).is_some_and(is_function)
}

fn fields(body: &[&str]) -> usize {
    let field = |line: &&&str| {
        let line = line.strip_prefix("    ").filter(|rest| !rest.starts_with([' ', '/', '#', ')', '}']));
        line.is_some_and(|rest| rest.contains(':'))
    };
    body.iter().filter(field).count()
}

/// `core/storage` of `core/storage/src/x.rs`.
fn crate_of(path: &Path) -> String {
    let mut parts = path.components().map(|part| part.as_os_str().to_string_lossy());
    let first = parts.next().unwrap_or_default().into_owned();
    if first == "cli" || first == "tests" { first } else { format!("{first}/{}", parts.next().unwrap_or_default()) }
}

#[test]
fn files_are_short() {
    let long = sources().into_iter().filter(|path| !is_test_or_generated(path)).filter_map(|path| {
        let lines = without_tests(&read(&path)).len();
        (lines > MOST_LINES).then(|| format!("{}: {lines} lines", path.display()))
    });
    check(&format!("a file has at most {MOST_LINES} lines without its tests"), &long.collect::<Vec<_>>());
}

#[test]
fn types_are_small() {
    let mut violations = Vec::new();
    let mut methods_of: BTreeMap<(String, String), usize> = BTreeMap::new();
    for path in sources().iter().filter(|path| !is_test_or_generated(path)) {
        let text = read(path);
        for item in items(&without_tests(&text)) {
            if let Some(name) = inherent_type(&item.head) {
                *methods_of.entry((crate_of(path), name)).or_default() += methods(&item.body);
            } else if item.head.starts_with("trait ") && methods(&item.body) > MOST_METHODS {
                violations.push(format!("{}: {} methods in {}", path.display(), methods(&item.body), item.head));
            }
            // The shape of documents that cross the boundary is given by who reads them.
            let document =
                ["Deserialize", "Serialize", "Args", "Parser"].iter().any(|derive| item.attributes.contains(derive));
            if item.head.starts_with("struct ") && !document && fields(&item.body) > MOST_FIELDS {
                violations.push(format!("{}: {} fields in {}", path.display(), fields(&item.body), item.head));
            }
        }
    }
    for ((krate, name), count) in methods_of {
        if count > MOST_METHODS {
            violations.push(format!("{krate}: {name} has {count} methods"));
        }
    }
    check(&format!("a type has at most {MOST_METHODS} methods and {MOST_FIELDS} fields"), &violations);
}

#[test]
fn impls_of_a_type_stand_in_one_module() {
    let mut files_of: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for path in sources().iter().filter(|path| !is_test_or_generated(path)) {
        let text = read(path);
        for name in items(&without_tests(&text)).iter().filter_map(|item| inherent_type(&item.head)) {
            let files = files_of.entry((crate_of(path), name)).or_default();
            let file = path.display().to_string();
            if files.last() != Some(&file) {
                files.push(file);
            }
        }
    }
    let defines = |file: &String, name: &str| {
        read(file).lines().any(|line| {
            let rest = ["struct ", "enum "].iter().find_map(|kind| line.split_once(kind)).map(|(_, rest)| rest);
            let after = rest.and_then(|rest| rest.strip_prefix(name));
            after.is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        })
    };
    // A module may be split into files below it: `content.rs` and `content/lease.rs` are one. And two private types of one
    // name in two modules are two types.
    let inside = |file: &String, tree: &String| {
        let tree = tree.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/lib");
        file.trim_end_matches(".rs") == tree || file.starts_with(&format!("{tree}/"))
    };
    let spread: Vec<String> = files_of
        .into_iter()
        .filter(|((_, name), files)| {
            let single = files.len() == 1;
            let definitions: Vec<&String> = files.iter().filter(|file| defines(file, name)).collect();
            !single && !files.iter().all(|file| definitions.iter().any(|definition| inside(file, definition)))
        })
        .map(|((krate, name), files)| format!("{krate}: {name} in {}", files.join(", ")))
        .collect();
    check("all methods of a type stand in one module", &spread);
}

#[test]
fn names_say_what_a_thing_is() {
    let banned = |name: &str| BANNED_NAMES.contains(&name);
    let mut violations = Vec::new();
    for path in sources() {
        if path.with_extension("").components().any(|part| banned(&part.as_os_str().to_string_lossy())) {
            violations.push(path.display().to_string());
        }
        for line in read(&path).lines() {
            let line = line.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
            let module = line.strip_prefix("mod ").map(|rest| rest.trim_end_matches([';', '{', ' ']));
            if module.is_some_and(banned) {
                violations.push(format!("{}: {line}", path.display()));
            }
        }
    }
    check(&format!("no module is named {}", BANNED_NAMES.join(", ")), &violations);
}

/// The names of our crates in a section of a Cargo.toml, without `sheave-`.
fn our_dependencies(manifest: &toml::Table, section: &str) -> Vec<String> {
    let table = manifest.get(section).and_then(toml::Value::as_table);
    table
        .into_iter()
        .flat_map(|table| table.keys())
        .filter_map(|key| key.strip_prefix("sheave-"))
        .map(str::to_owned)
        .collect()
}

fn manifest(folder: &str) -> toml::Table {
    read(format!("{folder}/Cargo.toml")).parse().unwrap_or_else(|error| panic!("{folder}/Cargo.toml: {error}"))
}

#[test]
fn dependencies_point_downwards() {
    let sdk = subfolders("sdk");
    let rank = |name: &str| RANKS.iter().find(|(known, _)| *known == name).map(|(_, rank)| *rank);
    let mut violations = Vec::new();
    let mut forbid = |folder: &str, section: &str, allowed: &dyn Fn(&str) -> bool, why: &str| {
        for name in our_dependencies(&manifest(folder), section) {
            if !sdk.contains(&name) && !allowed(&name) {
                violations.push(format!("{folder}: [{section}] sheave-{name}: {why}"));
            }
        }
    };
    for plugin in subfolders("plugins") {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            forbid(&format!("plugins/{plugin}"), section, &|_| false, "a plugin depends on sdk only");
        }
    }
    for name in &sdk {
        forbid(&format!("sdk/{name}"), "dependencies", &|_| false, "sdk depends on sdk only");
    }
    forbid("cli", "dependencies", &|_| false, "the CLI depends on sdk only");
    let plugins = subfolders("plugins");
    for name in subfolders("core") {
        let mine = rank(&name).unwrap_or_else(|| panic!("core/{name} has no rank in tests/tidy.rs"));
        let below = |other: &str| {
            rank(other).is_some_and(|other| other < mine)
                || (name == "daemon" && plugins.iter().any(|plugin| plugin == other))
        };
        forbid(&format!("core/{name}"), "dependencies", &below, "not a crate below it");
    }
    check("dependencies point downwards", &violations);
}

#[test]
fn only_builtins_names_plugins() {
    let plugins: Vec<String> =
        subfolders("plugins").iter().map(|name| format!("sheave_{}", name.replace('-', "_"))).collect();
    let mut violations = Vec::new();
    for path in sources() {
        let theirs = path.starts_with("plugins")
            || path.starts_with("tests")
            || path.components().any(|part| part.as_os_str() == "tests");
        if theirs || path == Path::new("core/daemon/src/builtins.rs") {
            continue;
        }
        let text = read(&path);
        for line in without_tests(&text) {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if let Some(plugin) = words.find(|word| plugins.iter().any(|plugin| plugin == word)) {
                violations.push(format!("{}: {plugin}", path.display()));
            }
        }
    }
    check("only core/daemon/src/builtins.rs names plugins", &violations);
}

#[test]
fn plugin_folders_have_one_shape() {
    const SHAPE: [&str; 7] = [
        "Cargo.toml",
        "sheave-plugin.toml",
        "README.md",
        "src/lib.rs",
        "src/config.rs",
        "src/driver.rs",
        "tests/conformance.rs",
    ];
    let mut violations = Vec::new();
    let table = fs::read_to_string(root().join("plugins/README.md")).unwrap_or_default();
    for plugin in subfolders("plugins") {
        for file in SHAPE {
            if !root().join("plugins").join(&plugin).join(file).is_file() {
                violations.push(format!("plugins/{plugin} has no {file}"));
            }
        }
        let expected = format!("sheave-{plugin}");
        let package = manifest(&format!("plugins/{plugin}"));
        let name = package.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
        if name != Some(&expected) {
            violations.push(format!("plugins/{plugin}: the crate is not named {expected}"));
        }
        if !table.lines().any(|line| line.starts_with('|') && line.contains(&plugin)) {
            violations.push(format!("plugins/README.md: no row with {plugin}"));
        }
    }
    check("a plugin's folder has the one shape, and a row in plugins/README.md", &violations);
}

#[test]
fn folders_say_what_they_are() {
    let missing: Vec<String> = FOLDERS
        .iter()
        .chain(&["."])
        .filter(|folder| !root().join(folder).join("README.md").is_file())
        .map(|folder| format!("{folder}/README.md"))
        .collect();
    check("each top folder has a README.md", &missing);
}

#[test]
fn the_scan_sees_what_it_should() {
    let text = "#[derive(Debug)]\npub struct A<T> {\n    /// doc: x\n    a: T,\n    pub(crate) b: u8,\n}\n\nimpl<T: Fn() -> u8> A<T> {\n    pub const fn x() {}\n    fn y(&self) {\n        fn inner() {}\n    }\n    // fn z\n}\n\nimpl Clone for A<u8> {\n    fn clone(&self) -> Self {}\n}\n\n#[cfg(test)]\nmod tests {\n    fn t() {}\n}\n";
    let lines = without_tests(text);
    assert_eq!(lines.len(), text.lines().count() - 4);
    let items = items(&lines);
    assert_eq!(items.len(), 3);
    assert_eq!(fields(&items[0].body), 2);
    assert_eq!(inherent_type(&items[1].head).as_deref(), Some("A"));
    assert_eq!(methods(&items[1].body), 2);
    assert_eq!(inherent_type(&items[2].head), None);
}
