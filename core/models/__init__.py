"""The family of models."""

from core.models.ae import AE
from core.models.base import Model
from core.models.constant import Constant
from core.models.dense_ae import DenseAE
from core.models.linear import Linear
from core.models.mean_image import MeanImage
from core.models.mvae import MVAE
from core.models.unet import UNet
from core.models.vae import VAE

MODELS: dict[str, type[Model]] = {  # to add one: write a module with a Model subclass, list it here
    "ae": AE,
    "constant": Constant,
    "dense_ae": DenseAE,
    "linear": Linear,
    "mean_image": MeanImage,
    "mvae": MVAE,
    "unet": UNet,
    "vae": VAE,
}
