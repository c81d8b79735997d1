"""What reference_answers/pytorch/17-torchvision-transforms.yaml says, shown on the installed torchvision."""

from pathlib import Path

import numpy as np
import pytest
import torch

try:
    from PIL import Image
    from torchvision import datasets, tv_tensors
    from torchvision import transforms as v1
    from torchvision.transforms import v2
except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision wheel built for another torch than this one
    pytest.skip(f"needs a torchvision that fits the installed torch: {error}", allow_module_level=True)


def _picture(height: int = 40, width: int = 60) -> "Image.Image":
    pixels = np.random.default_rng(0).integers(0, 256, size=(height, width, 3), dtype=np.uint8)
    pixels[0, 0] = 255
    return Image.fromarray(pixels)


def test_pipeline_makes_equal_tensors_of_unequal_pictures() -> None:
    """preprocess: pictures of differing sizes come out as float tensors that can be stacked."""
    tf = v2.Compose([v2.Resize(32), v2.CenterCrop(24), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    batch = torch.stack([tf(_picture(40, 60)), tf(_picture(90, 50))])
    assert batch.shape == (2, 3, 24, 24)
    assert batch.dtype == torch.float32


def test_random_transform_gives_varied_versions() -> None:
    """augmentation: the same picture comes out differently from call to call."""
    torch.manual_seed(0)
    image = torch.arange(3 * 32 * 32, dtype=torch.float32).reshape(3, 32, 32)
    crop = v2.RandomCrop(16)
    first = crop(image)
    assert any(not torch.equal(first, crop(image)) for _ in range(5))


def test_compose_applies_in_the_listed_order() -> None:
    """compose: the output of one transform is the input of the next; Normalize ahead of the conversion fails."""
    double, add_one = v2.Lambda(lambda x: x * 2), v2.Lambda(lambda x: x + 1)
    assert v2.Compose([double, add_one])(torch.tensor(3)).item() == 7
    assert v2.Compose([add_one, double])(torch.tensor(3)).item() == 8
    wrong_order = v1.Compose([v1.Normalize([0.5] * 3, [0.5] * 3), v1.ToTensor()])
    with pytest.raises(TypeError, match="Tensor"):
        wrong_order(_picture())


def test_conversion_to_a_channels_first_float_tensor() -> None:
    """to-tensor: ToTensor and its v2 successor give CxHxW floats from 0 to 1; v2.ToTensor itself is deprecated."""
    picture = _picture(40, 60)
    old = v1.ToTensor()(picture)
    new = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])(picture)
    assert old.shape == (3, 40, 60)
    assert old.dtype == torch.float32
    assert old.min() >= 0
    assert old.max().item() == 1.0
    torch.testing.assert_close(old, torch.Tensor(new))
    unscaled = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32)])(picture)
    assert unscaled.max().item() == 255.0
    with pytest.warns(UserWarning, match="deprecated"):
        v2.ToTensor()


def test_normalize_subtracts_mean_and_divides_by_std_per_channel() -> None:
    """normalize: (x - mean[c]) / std[c], which is not the range from 0 to 1."""
    torch.manual_seed(0)
    x = torch.rand(3, 8, 8)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    expected = torch.stack([(x[c] - mean[c]) / std[c] for c in range(3)])
    got = v2.Normalize(mean, std)(x)
    torch.testing.assert_close(got, expected)
    assert got.min() < 0
    assert got.max() > 1


def test_dataset_calls_the_transform_at_each_access(tmp_path: Path) -> None:
    """on-the-fly: the transform runs in dataset[i], each time anew; files and length stay as they were."""
    (tmp_path / "cat").mkdir()
    file = tmp_path / "cat" / "one.png"
    _picture().save(file)
    before = file.read_bytes()
    calls: list[int] = []

    def transform(image: "Image.Image") -> torch.Tensor:
        calls.append(1)
        return v1.ToTensor()(image)

    data = datasets.ImageFolder(str(tmp_path), transform=transform)
    assert not calls
    assert len(data) == 1
    _, _ = data[0], data[0]
    assert len(calls) == 2
    assert file.read_bytes() == before
    assert len(list((tmp_path / "cat").iterdir())) == 1


def test_evaluation_pipeline_is_deterministic() -> None:
    """train-vs-eval: Resize, CenterCrop and the conversion give the same tensor every time."""
    tf = v2.Compose([v2.Resize(32), v2.CenterCrop(24), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    picture = _picture()
    assert torch.equal(tf(picture), tf(picture))


def test_v2_moves_boxes_and_masks_with_the_image() -> None:
    """v2-targets: one flip mirrors image, mask and bounding boxes together."""
    image = tv_tensors.Image(torch.arange(3 * 4 * 6, dtype=torch.uint8).reshape(3, 4, 6))
    mask = tv_tensors.Mask(torch.arange(24, dtype=torch.uint8).reshape(4, 6))
    boxes = tv_tensors.BoundingBoxes(torch.tensor([[0, 0, 2, 2]]), format="XYXY", canvas_size=(4, 6))
    out = v2.RandomHorizontalFlip(p=1.0)({"image": image, "mask": mask, "boxes": boxes})
    assert torch.equal(out["image"], image.flip(-1))
    assert torch.equal(out["mask"], mask.flip(-1))
    assert out["boxes"].tolist() == [[4, 0, 6, 2]]
