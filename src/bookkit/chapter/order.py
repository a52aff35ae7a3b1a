"""The book's chapters in order, those that are yet to come included."""

__all__ = ["ORDER"]

# What the landing page calls a chapter that is yet to come.
ORDER = {
    "initialization": "initialization",
    "transformer": "the Transformer",
    "linear_attention": "linear attention",
    "gated_attention": "gated attention",
    "iou": "IoU losses",
    "segmentation": "segmentation metrics",
    "pyramid_pooling": "pyramid pooling",
    "set_prediction": "set prediction",
    "pose": "pose",
    "face": "face",
    "diffusion": "diffusion",
    "latent_diffusion": "latent diffusion",
}
