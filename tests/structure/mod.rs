//! What keeps the code easy to change, where no lint of the compiler looks: imports without circles, short functions, operators that
//! only their own files know by name, messages without Rust's debug text, and one place that lists what the library exposes.

mod imports;
mod messages;
mod operators;
mod source;

use source::{Source, body, sources, words};
use std::collections::BTreeSet;

/// All Rust files of the workspace.
fn all() -> Vec<Source> {
    sources(&sslm_tests::tools::root(), "")
}

/// The source folders of the crates.
fn crates(files: &[Source]) -> BTreeSet<&str> {
    let roots = files.iter().filter(|file| file.path.ends_with("src/lib.rs") || file.path.ends_with("src/main.rs"));
    roots.map(|file| file.path.rsplit_once('/').expect("a folder").0).collect()
}

#[test]
fn files_of_a_crate_import_each_other_in_no_circle() {
    let files = all();
    let mut found = Vec::new();
    for root in crates(&files) {
        let inside = |file: &Source| file.path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
        let files: Vec<&Source> = files.iter().filter(|file| inside(file)).collect();
        found.extend(imports::circles(&files, root).into_iter().map(|circle| (root, circle)));
    }
    assert!(found.is_empty(), "files that import each other: {found:#?}");
}

#[test]
fn functions_have_at_most_a_hundred_lines() {
    const MOST: usize = 100;
    let mut long = Vec::new();
    for file in all() {
        for at in words(&file.code, "fn") {
            let name: String =
                file.code[at + 2..].trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            // A type has no name, and a declaration no body.
            let Ok(body) = body(&file.code, at) else { continue };
            let lines = file.line(body.end - 1) - file.line(at) + 1;
            if !name.is_empty() && lines > MOST {
                long.push(format!("{}:{}: {name} has {lines} lines", file.path, file.line(at)));
            }
        }
    }
    assert!(long.is_empty(), "functions of more than {MOST} lines: {long:#?}");
}

/// Elsewhere a new operator would be forgotten: other code asks the traits that operators implement.
#[test]
fn only_the_files_of_operators_know_them_by_name() {
    const THEIRS: [&str; 3] = ["model-format/src/op/", "runtime/src/ops/", "tools/ssl-convert/src/ops/"];
    let files = all();
    let of_crates = files.iter().filter(|file| crates(&files).iter().any(|root| file.path.starts_with(&format!("{root}/"))));
    let mut found = Vec::new();
    for file in of_crates.filter(|file| !THEIRS.iter().any(|folder| file.path.starts_with(folder))) {
        // The tests' own crates make and look at what they like.
        if !file.path.starts_with("tests/") && !file.path.starts_with("benches/") {
            let lines: BTreeSet<usize> = operators::patterns(&file.without_tests()).iter().map(|&at| file.line(at)).collect();
            found.extend((!lines.is_empty()).then(|| format!("{}: {lines:?}", file.path)));
        }
    }
    assert!(found.is_empty(), "patterns over operators outside of {THEIRS:?}: {found:#?}");
}

/// `{:?}` of a list of numbers reads well; of anything else it is Rust, as in `Some(1)` or `Axis(ValueId(0), 0)`.
#[test]
fn messages_have_no_debug_text() {
    let files = all();
    let ours = |file: &&Source| !file.path.starts_with("tests/") && !file.path.starts_with("benches/");
    let of_crates = files.iter().filter(ours).filter(|file| crates(&files).iter().any(|root| file.path.starts_with(root)));
    let found: Vec<String> = of_crates.flat_map(messages::debug_texts).collect();
    assert!(found.is_empty(), "{{:?}} of what is not known to be a list of numbers (tests/structure/messages.rs): {found:#?}");
}

/// What programs can name of the library stands in `lib.rs`, name by name, so that nothing becomes public unseen.
#[test]
fn what_the_library_exposes_is_listed_in_one_place() {
    let files = all();
    let list = files.iter().find(|file| file.path == "runtime/src/lib.rs").expect("the library's root");
    let mut problems = Vec::new();
    for at in words(&list.code, "pub") {
        let item = list.code[at..].split_inclusive(';').next().unwrap_or_default().trim_end_matches(';');
        let (path, lists) = (item.trim_start_matches("pub use "), item.starts_with("pub use "));
        // A whole crate or module has no `::`, or ends in a name of small letters.
        let last = path.rsplit("::").next().unwrap_or_default();
        let names = last.trim_matches(['{', '}']).split(',').map(str::trim).filter(|name| !name.is_empty());
        let is_type = |name: &str| name.starts_with(|c: char| c.is_ascii_uppercase());
        if !lists || !path.contains("::") || !names.clone().all(is_type) || path.contains('*') {
            problems.push(format!("line {}: {item}", list.line(at)));
        }
    }
    assert!(problems.is_empty(), "{}: expected names, one by one, found {problems:#?}", list.path);
}
