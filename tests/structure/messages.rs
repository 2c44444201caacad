//! Where a message that users see shows an element by `{:?}`.

use super::source::{Source, closing};

/// Names of lists of numbers, or of extents, which are shown in words.
const LISTS: [&str; 15] = [
    "SIZES",
    "axes",
    "dims",
    "entries",
    "extents",
    "found_shape",
    "indices",
    "inferred",
    "integers",
    "lens",
    "mean",
    "shape",
    "shapes",
    "std",
    "wanted",
];

/// What ends the program, or is for its authors.
const NOT_FOR_USERS: [&str; 6] = ["assert", "assert_eq", "debug_assert", "debug_assert_eq", "panic", "unreachable"];

/// The places in `file` where a message shows something by `{:?}` that may not be a list of numbers.
pub(super) fn debug_texts(file: &Source) -> Vec<String> {
    let code = file.without_tests();
    let places = file.text.match_indices(":?}").chain(file.text.match_indices(":#?}"));
    let found = places.filter_map(|(at, _)| Some((at, argument(file, &code, at)?)));
    let of_others = found.filter(|(_, shown)| !LISTS.contains(&last_name(shown)));
    of_others.map(|(at, shown)| format!("{}:{}: {shown}", file.path, file.line(at))).collect()
}

/// What is shown by the placeholder that ends at `at`, if it stands in a message; `code` is the file's without its tests.
fn argument(file: &Source, code: &str, at: usize) -> Option<String> {
    let open = enclosing(code, at)?;
    let name: String = code[..open].strip_suffix('!')?.chars().rev().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if NOT_FOR_USERS.contains(&name.chars().rev().collect::<String>().as_str()) {
        return None;
    }
    let parts = split(code, open + 1..closing(code, open) - 1);
    let (i, literal) = parts.iter().enumerate().find(|(_, part)| part.contains(&at))?;
    let before = &file.text[literal.start..at];
    let shown = &before[before.rfind('{')? + 1..];
    if !shown.is_empty() {
        return Some(shown.to_owned());
    }
    let unnamed = before.match_indices('{').filter(|(open, _)| before[open + 1..].starts_with(['}', ':'])).count();
    Some(code[parts.get(i + 1 + unnamed)?.clone()].trim().to_owned())
}

/// Where the parenthesis opens that `at` lies in.
fn enclosing(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0;
    for (i, byte) in code.bytes().enumerate().take(at).collect::<Vec<_>>().into_iter().rev() {
        match byte {
            b')' | b']' | b'}' => depth += 1,
            b'(' if depth == 0 => return Some(i),
            b'[' | b'{' if depth == 0 => return None,
            b'(' | b'[' | b'{' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The parts of `range` between commas that no bracket encloses.
fn split(code: &str, range: std::ops::Range<usize>) -> Vec<std::ops::Range<usize>> {
    let (mut parts, mut start, mut depth) = (Vec::new(), range.start, 0);
    for at in range.clone() {
        match code.as_bytes()[at] {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(start..at);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(start..range.end);
    parts
}

/// The name of the field, function or variable that an expression ends with.
fn last_name(expression: &str) -> &str {
    let mut rest = expression;
    for suffix in ["()", ".as_ref"] {
        rest = rest.strip_suffix(suffix).unwrap_or(rest);
    }
    rest = rest.rfind('[').filter(|_| rest.ends_with(']')).map_or(rest, |at| &rest[..at]);
    rest.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or(rest)
}

#[test]
fn a_debug_text_is_found() {
    let text = r#"fn f() { g(format!("{a:?} and {dims:?}, {}, {:?}", b, c.d)); assert!(ok, "{e:?}"); }"#;
    let file = Source { path: "x.rs".into(), code: super::source::code(text), text: text.into() };
    assert_eq!(debug_texts(&file), ["x.rs:1: a", "x.rs:1: c.d"]);
}
