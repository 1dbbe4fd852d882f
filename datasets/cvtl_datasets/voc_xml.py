"""One Pascal VOC annotation: XML to what it says, and the lines where it says it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.parsers import expat

Box = tuple[float, float, float, float]

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
# What says nothing, in lower case.
_NOTHING = {"", "0", "0.0", "no", "false", "none", "null", "unspecified", "unknown"}
# Where the picture lies and how it is stored: nothing that a target would have to hold.
_BOOKKEEPING = {"folder", "filename", "path", "size", "object"}
_HELD = {"name", "bndbox", "difficult"}


class MalformedError(ValueError):
    """An annotation that cannot be understood.

    Args:
        line: where.
        what: what is wrong there.
    """

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line
        self.what = what


@dataclass(slots=True)
class VocObject:
    """An object as it is written.

    Attributes:
        name: of its class.
        box: xyxy as written, finite numbers; None where it cannot be understood.
        difficult: VOC's flag.
        fault: why it cannot be understood; empty otherwise.
    """

    name: str = ""
    box: Box | None = None
    difficult: bool = False
    fault: str = ""


@dataclass(slots=True)
class Annotation:
    """What one file says.

    Attributes:
        filename: the picture's name without folders; empty if there is none.
        size_wh: the picture's width and height; None where they are missing or no whole numbers.
        objects: in the file's order.
        unheld: fields that say something else of the picture or its objects, and how often.
    """

    filename: str = ""
    size_wh: tuple[int, int] | None = None
    objects: list[VocObject] = field(default_factory=list)
    unheld: Counter[str] = field(default_factory=Counter)


def parse(content: bytes) -> Annotation:
    """Read an annotation.

    Raises:
        MalformedError: it is no XML, has entities of its own, or is no `<annotation>`.

    Example:
        >>> box = b"<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3.5</xmax><ymax>4</ymax></bndbox>"
        >>> parse(b"<annotation><object><name>cat</name>" + box + b"</object></annotation>").objects
        [VocObject(name='cat', box=(1.0, 2.0, 3.5, 4.0), difficult=False, fault='')]
    """
    root = _parse_xml(content)
    if root.tag != "annotation":
        raise MalformedError(1, f"it is a <{root.tag}>, not an <annotation>")
    annotation = Annotation(_filename(_text(root, "filename")), _size(root))
    for child in root:
        if child.tag == "object":
            annotation.objects.append(_object(child))
            annotation.unheld.update(each.tag for each in child if each.tag not in _HELD and _informs(each))
        elif child.tag not in _BOOKKEEPING and _informs(child):
            annotation.unheld[child.tag] += 1
    return annotation


def lines_of_objects(content: bytes) -> list[int]:
    """The line of each object's box, or of the object itself where it has none, in an annotation that can be read."""
    parser = expat.ParserCreate()
    inside: list[str] = []
    lines: list[int] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        inside.append(tag)
        if inside[1:] == ["object"]:
            lines.append(parser.CurrentLineNumber)
        elif inside[1:] == ["object", "bndbox"]:
            lines[-1] = parser.CurrentLineNumber

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda tag: inside.pop()
    parser.Parse(content, True)
    return lines


def _parse_xml(content: bytes) -> Element:
    # By them XML can be made to grow. Those that name other files are never followed.
    if b"<!ENTITY" in content.replace(b"\0", b""):  # UTF-16, too
        raise MalformedError(1, "it has entities of its own, which are not read")
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise MalformedError(error.position[0], f"it is no XML: {expat.ErrorString(error.code)}") from error
    except (ValueError, LookupError) as error:
        raise MalformedError(1, f"its encoding cannot be read: {error}") from error


def _text(element: Element, tag: str) -> str:
    return element.findtext(tag, "").strip()


def _informs(element: Element) -> bool:
    """Whether it, or anything in it, says more than a default."""
    return _says(element.text) or (len(element) > 0 and any(_says(each.text) for each in element.iter()))


def _says(text: str | None) -> bool:
    return text is not None and text.strip().lower() not in _NOTHING


def _filename(text: str) -> str:
    """Without the folders of whoever annotated it, on whichever system."""
    return text.replace("\\", "/").rpartition("/")[2]


def _size(root: Element) -> tuple[int, int] | None:
    try:
        return int(_text(root, "size/width")), int(_text(root, "size/height"))
    except ValueError:
        return None


def _object(element: Element) -> VocObject:
    difficult = element.find("difficult")
    found = VocObject(_text(element, "name"), difficult=difficult is not None and _informs(difficult))
    bounds = element.findall("bndbox")
    if not found.name:
        found.fault = "the object has no <name>"
    elif len(bounds) != 1:
        found.fault = f"the object '{found.name}' has {len(bounds) or 'no'} <bndbox>"
    else:
        try:
            found.box = _box(bounds[0])
        except ValueError as error:
            found.fault = f"the object '{found.name}': {error}"
    return found


def _box(bounds: Element) -> Box:
    texts = [_text(bounds, corner) for corner in _CORNERS]
    numbers = [_number(text) for text in texts]
    for corner, text, number in zip(_CORNERS, texts, numbers, strict=True):
        if not math.isfinite(number):
            raise ValueError(f"its <{corner}> is '{text}', not a number" if text else f"its <{corner}> is missing")
    x1, y1, x2, y2 = numbers
    return x1, y1, x2, y2


def _number(text: str) -> float:
    """What the text says; not finite where it is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan
