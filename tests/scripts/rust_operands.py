"""Where operands begin and end in Rust, for mutants_at_once.py: cargo mutants says of an operation where its sign stands, and no more.

It is no parser: it knows how expressions are put together of operands, and raises Odd at what is seldom written. Types are passed over where
an operand has them, in generic arguments and casts; elsewhere their signs are taken for operations, of which nobody asks.
"""
import re

TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)|(?P<text>b?r(?P<hash>\#*)".*?"(?P=hash)|[bc]?"(?:\\.|[^"\\])*"|b?'(?:\\[^']+|[^'\\]|\\')')
    |(?P<lifetime>'\w+)|(?P<word>[A-Za-z_]\w*)|(?P<number>\d\w*(?:\.\d\w*)?(?:(?<=[eE])[+-]\d+)?)
    |(?P<sign><<=|>>=|\.\.[.=]?|&&|\|\||[=!<>+*/%^&|-]=|<<|>>|->|=>|::|.)""",
    re.X | re.S,
)
KEYWORDS = set("as break const continue dyn else fn for if impl in let loop match move mut ref return static unsafe where while".split())
LEVELS = ["+= -= *= /= %= ^= &= |= <<= >>=", "", "||", "&&", "== != < > <= >=", "|", "^", "&", "<< >>", "+ -", "* / %"]
PRECEDENCE = {sign: level for level, signs in enumerate(LEVELS) for sign in signs.split()}


class Odd(Exception):
    """What is not understood."""


class Source:
    """A file as tokens: where operands begin and end. Text is latin-1, so that places are those of bytes, as the compiler's."""

    def __init__(self, data):
        self.text, self.lines = data.decode("latin-1"), data.decode().split("\n")
        found = [m for m in TOKEN.finditer(self.text) if m.lastgroup != "space"]
        self.kinds, self.tokens = [m.lastgroup for m in found], [m.group() for m in found]
        self.starts, self.ends = [m.start() for m in found], [m.end() for m in found]
        self.pairs, self.pipes, self.prefixes = {}, set(), set()
        opened = []
        for i, token in enumerate(self.tokens):
            if self.kinds[i] == "sign" and token in "([{":
                opened.append(i)
            elif self.kinds[i] == "sign" and token in ")]}":
                self.pair(opened.pop(), i)
        for i, token in enumerate(self.tokens):
            if self.is_end(i - 1) or i in self.pipes or i in self.pairs:
                continue
            if token == "<":
                self.pair(i, self.closing(i))
            elif token == "||":
                self.pipes.add(i)
            elif token == "|":
                self.pipes |= {i, next(k for k in range(i + 1, len(self.tokens)) if self.tokens[k] == "|")}
            elif token in ("-", "!", "*", "&", "&&"):
                self.prefixes.add(i)

    def pair(self, a, b):
        self.pairs[a], self.pairs[b] = b, a

    def closing(self, i):
        """Where generic arguments end that begin here."""
        depth = 0
        for k in range(i, len(self.tokens)):
            depth += {"<": 1, ">": -1, ">>": -2}.get(self.tokens[k], 0)
            if depth <= 0:
                return k
        raise Odd

    def is_end(self, i):
        """Whether an operand may end here."""
        token, kind = self.tokens[i], self.kinds[i]
        if kind == "sign":
            return i not in self.pipes and (token in ")]?" or token in (">", ">>") and i in self.pairs)
        return kind != "lifetime" and (token not in KEYWORDS or self.tokens[i - 1] == ".")

    def is_binary(self, i):
        is_sign = self.tokens[i] in PRECEDENCE and i not in self.prefixes | self.pipes and i not in self.pairs
        return is_sign and self.is_end(i - 1)

    def place(self, at):
        """Where in the text a line and a column of characters is."""
        lines = self.lines[: at["line"] - 1] + [self.lines[at["line"] - 1][: at["column"] - 1]]
        return len("\n".join(lines).encode())

    def start(self, i):
        """Where the operand begins that ends with this token."""
        while True:
            before, token = i - 1, self.tokens[i]
            if token == "?":
                i = before
            elif i in self.pairs and token in (")", "]", ">", ">>"):
                i, before = self.pairs[i], self.pairs[i] - 1
                is_macro = self.tokens[before] == "!" and before not in self.prefixes
                if self.tokens[before] == "::" or is_macro:
                    i = before - 1
                elif token != ">" and self.is_end(before):
                    i = before
                else:
                    break
            elif self.kinds[i] == "sign" or token in KEYWORDS and self.tokens[before] != ".":
                raise Odd
            elif self.tokens[before] in (".", "as") or self.tokens[before] == "::" and self.is_end(before - 1):
                i = before - 1
            else:
                break
        while i - 1 in self.prefixes or self.tokens[i - 1] == "mut":
            i -= 1
        return i

    def end(self, i, casts=True):
        """One past the operand that begins here."""
        while i in self.prefixes or self.tokens[i] == "mut":
            i += 1
        if self.tokens[i] in ("if", "match", "unsafe"):
            while self.tokens[i] in ("if", "match", "unsafe", "else"):
                while self.tokens[i] != "{":
                    i = self.pairs[i] + 1 if self.tokens[i] in ("(", "[") else i + 1
                i = self.pairs[i] + 1
        elif i in self.pairs and self.tokens[i] in ("(", "[", "<"):
            i = self.pairs[i] + 1
        elif self.kinds[i] != "sign" and self.is_end(i):
            i += 1
        else:
            raise Odd
        while True:
            token, behind = self.tokens[i], self.tokens[i + 1]
            if token in ("(", "["):
                i = self.pairs[i] + 1
            elif token == "!" and behind in ("(", "[", "{") or token == "::" and behind == "<":
                i = self.pairs[i + 1] + 1
            elif token in (".", "::"):
                i += 2
            elif token == "?":
                i += 1
            elif token == "as" and casts:
                if self.tokens[i + 2] in ("<", "::"):
                    raise Odd
                i += 2
            else:
                return i

    def binary(self, i):
        """Where the operation begins and ends that has this sign."""
        level = PRECEDENCE[self.tokens[i]]
        first, last = self.start(i - 1), self.end(i + 1)
        while self.is_binary(first - 1) and PRECEDENCE[self.tokens[first - 1]] >= level:
            first = self.start(first - 2)
        while self.is_binary(last) and PRECEDENCE[self.tokens[last]] > level:
            last = self.end(last + 1)
        return self.starts[first], self.ends[last - 1]
