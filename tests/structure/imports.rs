//! Which files of a crate use which others, and whether they do so in a circle.

use super::source::{Source, words};
use std::collections::{BTreeMap, BTreeSet};

/// Files that use each other, directly or through others, as one set for each circle; modules are named as in paths.
pub(super) fn circles(files: &[&Source], root: &str) -> Vec<BTreeSet<String>> {
    let modules: BTreeMap<String, &Source> = files.iter().map(|&file| (module(&file.path, root), file)).collect();
    let edges: BTreeMap<&str, BTreeSet<&str>> =
        modules.iter().map(|(name, file)| (name.as_str(), used(name, file, &modules))).collect();
    let reached: BTreeMap<&str, BTreeSet<&str>> = edges.keys().map(|&name| (name, reach(name, &edges))).collect();
    let circle =
        |name: &str| reached[name].iter().filter(|&&other| reached[other].contains(name)).map(|s| s.to_string()).collect();
    let circles: BTreeSet<BTreeSet<String>> =
        edges.keys().filter(|&&name| reached[name].contains(name)).map(|name| circle(name)).collect();
    circles.into_iter().collect()
}

/// Everything that a module uses, and what that uses, and so on.
fn reach<'a>(name: &str, edges: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = edges[name].iter().copied().collect();
    while let Some(name) = next.pop() {
        if reached.insert(name) {
            next.extend(&edges[name]);
        }
    }
    reached
}

/// The module that a file is.
fn module(path: &str, root: &str) -> String {
    let path = path.strip_prefix(root).expect("a file of the crate").trim_start_matches('/').trim_end_matches(".rs");
    path.strip_suffix("/mod").unwrap_or(path).replace('/', "::")
}

/// The modules that one of them uses, but for those within it and around it. What a crate's root names, it may name.
fn used<'a>(name: &str, file: &Source, modules: &'a BTreeMap<String, &Source>) -> BTreeSet<&'a str> {
    if ["lib", "main"].contains(&name) {
        return BTreeSet::new();
    }
    let code = file.without_tests();
    let within = |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with("::"));
    let longest = |path: String| {
        let ends = path.match_indices("::").map(|(at, _)| at).chain([path.len()]).collect::<Vec<_>>();
        ends.into_iter().rev().find_map(|end| modules.get_key_value(&path[..end]))
    };
    let found = paths(&code).into_iter().filter_map(|path| longest(absolute(name, &path)));
    found.map(|(other, _)| other.as_str()).filter(|other| !within(other, name) && !within(name, other)).collect()
}

/// From the crate's root, without `crate`.
fn absolute(module: &str, path: &str) -> String {
    let mut base: Vec<&str> = module.split("::").collect();
    let mut parts = path.split("::").peekable();
    while let Some(part) = parts.next_if(|part| ["crate", "self", "super"].contains(part)) {
        match part {
            "crate" => base.clear(),
            "super" => drop(base.pop()),
            _ => {}
        }
    }
    base.into_iter().chain(parts).collect::<Vec<_>>().join("::")
}

/// All paths within the crate, with the paths in braces written out.
fn paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for at in words(code, "use") {
        let import = code[at + "use".len()..].split(';').next().unwrap_or_default().trim();
        if ["crate::", "super::", "self::"].iter().any(|start| import.starts_with(start)) {
            spread("", import, &mut paths);
        }
    }
    for start in ["crate::", "super::"] {
        let path = |at| code[at..].split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').next().unwrap_or_default();
        // Not from the middle of a path.
        let starts = words(code, start).filter(|&at| !code[..at].ends_with(':'));
        paths.extend(starts.map(|at| path(at).trim_end_matches(':').to_owned()));
    }
    paths
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn spread(prefix: &str, import: &str, paths: &mut Vec<String>) {
    let import = import.trim();
    let Some((start, braced)) = import.split_once('{') else {
        let name = import.split(" as ").next().unwrap_or_default().trim();
        if !name.is_empty() {
            paths.push(format!("{prefix}{name}"));
        }
        return;
    };
    let prefix = format!("{prefix}{}", start.trim());
    let braced = braced.trim_end().strip_suffix('}').expect("a closing brace");
    let (mut depth, mut first) = (0, 0);
    for (at, byte) in braced.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                spread(&prefix, &braced[first..at], paths);
                first = at + 1;
            }
            _ => {}
        }
    }
    spread(&prefix, &braced[first..], paths);
}

#[cfg(test)]
mod tests {
    use super::super::source::code;
    use super::*;

    /// The circles among files of these names, below `x/src`, and texts.
    fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let files: Vec<Source> = files
            .iter()
            .map(|(name, text)| Source { path: format!("x/src/{name}"), code: code(text), text: (*text).to_owned() })
            .collect();
        circles(&files.iter().collect::<Vec<_>>(), "x/src").into_iter().map(|circle| circle.into_iter().collect()).collect()
    }

    #[test]
    fn every_way_to_use_a_file_counts() {
        let uses = [
            "use crate::b;",
            "use crate::b::Thing;",
            "use crate::{c, b::{Thing as Other}};",
            "use super::b::{self, Thing};",
            "fn f() { crate::b::f() }",
            "fn f(x: super::b::Thing) {}",
            "pub(crate) use super::{\n    c,\n    b,\n};",
        ];
        for text in uses {
            assert_eq!(circles_of(&[("a.rs", text), ("b.rs", "use crate::a::f;"), ("c.rs", "")]), [["a", "b"]], "{text}");
        }
    }

    #[test]
    fn other_things_do_not() {
        let uses = [
            "// use crate::b;",
            "/* crate::b */",
            "const X: &str = \"crate::b\";",
            "#[cfg(test)]\nmod tests {\n    use crate::b;\n}",
            "use other::b;",
            "use crate::c;",
        ];
        for text in uses {
            assert!(circles_of(&[("a.rs", text), ("b.rs", "use crate::a::f;"), ("c.rs", "")]).is_empty(), "{text}");
        }
    }

    #[test]
    fn circles_are_of_any_length_and_folders_are_of_their_own() {
        let files = [
            ("lib.rs", "mod a; mod b; pub use a::A;"),
            ("a.rs", "use crate::b::inner::B;"),
            ("b/mod.rs", "mod inner; use inner::B;"),
            ("b/inner.rs", "use super::Shared; use super::super::c::C;"),
            ("c.rs", "use crate::a::A;"),
        ];
        assert_eq!(circles_of(&files), [["a", "b::inner", "c"]]);
    }
}
