//! Where code asks which operator it has before it: patterns over the variants of the format's `Op`.

use super::source::{closing, words};

/// Where such patterns stand in the code, and names that hide them: `use Op::*`, or `Op` by another name.
pub(super) fn patterns(code: &str) -> Vec<usize> {
    // Whatever stands in `matches!` is a pattern or no variant at all.
    let asked: Vec<_> = words(code, "matches!").map(|at| at + "matches!".len()).map(|at| at..closing(code, at)).collect();
    let is_pattern = |&at: &usize| asked.iter().any(|range| range.contains(&at)) || is_pattern(code, at);
    let mut found: Vec<usize> = words(code, "Op").filter(|at| code[at + 2..].starts_with("::")).filter(is_pattern).collect();
    found.extend(words(code, "Op").filter(|at| ["::*", "::{", " as "].iter().any(|hides| code[at + 2..].starts_with(hides))));
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether the variant at `at` is part of a pattern: what follows it, and the brackets around it, is what follows a pattern.
fn is_pattern(code: &str, at: usize) -> bool {
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    let mut rest = code[at..].trim_start_matches(is_path).trim_start();
    loop {
        let bytes = rest.as_bytes();
        let at = code.len() - rest.len();
        rest = match bytes {
            // Fields, or what else stands beside it in the brackets around.
            [b'(' | b'[', ..] => &code[closing(code, at)..],
            [b'{', ..] if !opens_a_block(code, at) => &code[closing(code, at)..],
            [b')' | b']' | b'}', ..] => &rest[1..],
            [b',', ..] => match end_of_list(code, at) {
                Some(end) => &code[end..],
                None => return false,
            },
            [b'=', b'>', ..] => return true,
            [b'=', next, ..] => return *next != b'=',
            [b'|', next, ..] => return *next != b'|',
            _ => return rest.starts_with("if ") || rest.starts_with("if\n"),
        }
        .trim_start();
    }
}

/// Whether a brace is the body of `if`, `while`, `for` or `match`, whose head ends with the variant.
fn opens_a_block(code: &str, at: usize) -> bool {
    let head = code[..at].rfind([';', '{', '}']).map_or(0, |end| end + 1);
    let is_head = ["if", "while", "for", "match"].iter().any(|word| words(&code[head..at], word).next().is_some());
    let inside = &code[at + 1..closing(code, at) - 1];
    // Fields of a pattern in the head of `if let`.
    let fields = inside.split(',').all(|field| field.trim().chars().all(|c| c.is_alphanumeric() || "_.: &".contains(c)));
    is_head && !(fields && code[closing(code, at)..].trim_start().starts_with('='))
}

/// Behind the bracket that closes the list in which the comma at `at` stands.
fn end_of_list(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth == 0 => return Some(at + 1),
            b')' | b']' | b'}' => depth -= 1,
            b';' if depth == 0 => return None,
            // An arm ended, and others follow.
            b'=' if depth == 0 && code[at..].starts_with("=>") => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_told_from_values() {
        let asks = [
            "match op { Op::Relu => 1 }",
            "match op { Op::Conv(conv) => 1 }",
            "match op { Op::Conv(Conv { groups, .. }) if groups.is_empty() => 1 }",
            "match op { Op::Softmax { axis } => 1 }",
            "match op { sslm_format::Op::Relu | Op::Clip { .. } => 1 }",
            "match (a, b) { (Op::Relu, Some(x)) => 1 }",
            "match op { Some(Op::Relu) => 1 }",
            "if let Op::Conv(conv) = op {}",
            "if let Some(Node { op: Op::Softmax { axis }, .. }) = node {}",
            "let Op::Conv(conv) = &node.op else { return };",
            "while let Op::Relu = next() {}",
            "assert!(matches!(op, Op::Relu));",
            "use sslm_format::Op::*;",
            "use sslm_format::Op as Operator;",
        ];
        for code in asks {
            assert_eq!(patterns(code).len(), code.matches("Op::").count().max(1), "{code}");
        }
        let makes = [
            "let op = Op::Relu;",
            "f(Op::Relu, 3); if a == b {}",
            "f(Op::Conv(Conv { groups }))",
            "Node { op: Op::Softmax { axis: 1 }, inputs }",
            "match name { a => Op::Relu, b => Op::Clip { min, max }, c => f() }",
            "if op == Op::Relu { x = 1; }",
            "if op == &Op::Relu || x {}",
            "vec![Op::Relu, Op::Add]",
            "impl Op { fn f(&self) -> Op {} }",
            "OtherOp::Relu => 1",
        ];
        for code in makes {
            assert!(patterns(code).is_empty(), "{code}");
        }
    }
}
