"""The family of models."""

from core.models.ae import AE
from core.models.base import Model
from core.models.cca import CCA
from core.models.constant import Constant
from core.models.contrastive import Contrastive
from core.models.cyclegan import CycleGAN
from core.models.dense_ae import DenseAE
from core.models.dmvae import DMVAE
from core.models.hemis import HeMIS
from core.models.jmvae import JMVAE
from core.models.linear import Linear
from core.models.mean_image import MeanImage
from core.models.mhvae import MHVAE
from core.models.mm_synthesis import MMSynthesis
from core.models.mmvae import MMVAE
from core.models.mmvae_plus import MMVAEPlus
from core.models.mopoe import MoPoE
from core.models.mvae import MVAE
from core.models.mvtcae import MVTCAE
from core.models.pca import PCA
from core.models.pix2pix import Pix2Pix
from core.models.pls import PLS
from core.models.unet import UNet
from core.models.unit import UNIT
from core.models.vae import VAE
from core.models.vae_gan import VAEGAN

MODELS: dict[str, type[Model]] = {  # to add one: write a module with a Model subclass, list it here
    "ae": AE,
    "cca": CCA,
    "constant": Constant,
    "contrastive": Contrastive,
    "cyclegan": CycleGAN,
    "dense_ae": DenseAE,
    "dmvae": DMVAE,
    "hemis": HeMIS,
    "jmvae": JMVAE,
    "linear": Linear,
    "mean_image": MeanImage,
    "mhvae": MHVAE,
    "mm_synthesis": MMSynthesis,
    "mmvae": MMVAE,
    "mmvae_plus": MMVAEPlus,
    "mopoe": MoPoE,
    "mvae": MVAE,
    "mvtcae": MVTCAE,
    "pca": PCA,
    "pix2pix": Pix2Pix,
    "pls": PLS,
    "unet": UNet,
    "unit": UNIT,
    "vae": VAE,
    "vae_gan": VAEGAN,
}
