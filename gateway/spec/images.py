"""Pictures, and the size, range and order in which a model takes them."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from gateway.spec.base import FeatureBase, Section, finite


class ImageSize(Section, frozen=True, kw_only=True):
    """The picture that the model takes: height x width x channels (1 grey, 3 RGB, 4 RGBA).

    Pixels are 0 to 255; the tensor gets pixel * scale + offset, then (value - mean) / std of each channel.
    `resize: none` refuses pictures of another size. `filter` says whose resize is meant: they differ.
    """

    width: Annotated[int, Meta(ge=1, le=8192)]
    height: Annotated[int, Meta(ge=1, le=8192)]
    channels: Literal[1, 3, 4] = 3
    order: Literal["rgb", "bgr"] = "rgb"
    resize: Literal["none", "nearest", "bilinear", "bicubic"] = "bilinear"
    filter: Literal["pillow", "tensorflow"] = "pillow"
    antialias: bool | None = None
    orientation: Literal["ignore", "exif"] = "ignore"
    scale: float = 1.0
    offset: float = 0.0
    mean: list[float] | None = None
    std: list[float] | None = None

    @property
    def plain(self) -> bool:
        """Whether the tensor gets the pixels as they are."""
        return self.scale == 1 and self.offset == 0 and self.mean is None and self.std is None

    @property
    def whole(self) -> bool:
        """Whether all that reaches the tensor are whole numbers."""
        exact = self.filter == "pillow" or self.resize in ("none", "nearest")
        return self.plain and exact

    @property
    def antialiased(self) -> bool:
        """Whether a picture is smoothed while it is made smaller: without `antialias`, by Pillow only."""
        return self.filter == "pillow" if self.antialias is None else self.antialias

    def __post_init__(self) -> None:
        finite(scale=self.scale, offset=self.offset)
        if self.scale == 0:
            raise ValueError("scale 0 would make every pixel the same")
        for key, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != self.channels:
                raise ValueError(f"{key} has {len(values)} numbers, the picture has {self.channels} channels")
            for value in values or ():
                finite(**{key: value})
        if self.std is not None and min(self.std) <= 0:
            raise ValueError("std must be above 0 in every channel")
        if self.order == "bgr" and self.channels == 1:
            raise ValueError("order bgr needs 3 or 4 channels")
        if self.antialias is not None and self.resize in ("none", "nearest"):
            raise ValueError(f"antialias does not apply to resize {self.resize}")
        if self.antialias is False and self.filter == "pillow":
            raise ValueError("Pillow always smooths; filter tensorflow has antialias false")


class ImageFeature(FeatureBase, frozen=True, kw_only=True, tag="image"):
    """A PNG or JPEG as base64 text, or as a data: URL."""

    image: ImageSize

    @property
    def columns(self) -> int:
        return self.image.height * self.image.width * self.image.channels

    def __post_init__(self) -> None:
        if self.required is False:
            raise ValueError(f"feature '{self.name}': an image has no default, so it cannot be left out")
