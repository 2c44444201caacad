"""What can go wrong, as exceptions. The messages are those of the command-line tools."""


class Error(Exception):
    """Something that the library refuses or cannot do. `kind` is a word that programs can match."""

    def __init__(self, message: str, kind: str = "other"):
        super().__init__(message)
        self.kind = kind

    def __reduce__(self):
        return type(self), (str(self), self.kind)


class FormatError(Error):
    """A file is no .sslm model, or a damaged one, or of a version that is not known."""


class InputError(Error, ValueError):
    """Arguments or arrays do not fit the model."""


class LimitError(Error):
    """More memory, work or time is needed than is allowed."""


class ConversionError(Error):
    """An ONNX model cannot be converted."""


class CheckError(Error):
    """A conversion was done, but its outputs differ from the original's by more than is tolerated."""


_CLASSES = {
    "format": FormatError,
    "not_sslm": FormatError,
    "version": FormatError,
    "corrupt": FormatError,
    "input": InputError,
    "shape": InputError,
    "limit": LimitError,
    "convert": ConversionError,
    "check": CheckError,
}


def exception(kind: str, message: str) -> Error:
    """The exception for an error of this kind. The extension module calls this."""
    return _CLASSES.get(kind, Error)(message, kind)
