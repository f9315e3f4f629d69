"""What the columns of results.jsonl mean, in words for a reader who meets them for the first time.

Loss terms and divergences are in nats per image, squared errors are averaged over pixels, and both
over the test images unless a study says otherwise.
"""

MEANINGS = {
    # What the model is.
    "study": "the question that the model was trained for",
    "dataset": "where the images are from",
    "split": "which of the images the model was trained on",
    "test": "which of the images the model was measured on",
    "train_digest": "a checksum that tells the training images from others of the same name",
    "test_digest": "a checksum that tells the test images from others of the same name",
    "images_digest": "a checksum of the training and test images together",
    "commit": "the version of the code that measured it",
    "device": "what the model was trained on",
    "run": "the name of a group of models that were trained together, and of their folder",
    "lane": "the number of the model among those trained together",
    "seed": "the number that decides all randomness of the training",
    "latent_size": "latent units: how many numbers the code of an image has",
    "images": "the number of training images",
    "columns": "the number of columns of pixels that the encoder sees",
    "net": "the kind of encoder and decoder: linear, or the number of hidden layers of an MLP",
    "remedy": "what was done against collapse",
    "from": "raised: the scale was raised from below the threshold; lowered: from above",
    "state": "awake: the unit is active; slow: it grows and is not active yet; dead: it does not",
    "epochs": "how often the training went through all training images",
    "steps": "training steps, each on one batch of images",
    "start": "the trained weights that the model began from; none: it began from fresh ones",
    "learning_rate": "the size of the steps of the optimizer at the beginning",
    "decay_steps": "steps over which the learning rate falls to 0; 0: it is constant",
    "recon_scale": "the weight of the reconstruction error, averaged over pixels, in the objective",
    "kl_weight": "the weight of the KL in the objective",
    "kl_warmup": "steps over which the weight of the KL grows from 0",
    "kl_cycle": "steps after which the weight of the KL starts again from 0; 0: it never does",
    "free_bits": "nats of KL of each unit that cost nothing",
    "clip_norm": "the largest norm of a gradient: a longer one was scaled down to it; 0: none was",
    "effective_sigma": "the standard deviation of the Gaussian decoder that the weights of the "
    "objective amount to, in units of the pixels: the smaller, the more a reconstruction error "
    "costs",
    "effective_beta": "the weight of the KL as in a beta-VAE, in which the reconstruction part is"
    " a log-likelihood: 1 is the ELBO, more favours collapse",
    "threshold_scale": "the recon_scale below which, as the images predict, no unit pays for its "
    "KL: the posterior then collapses",
    "units_that_pay": "how many latent units would pay for their KL at this recon_scale, as the "
    "images predict",
    # How well it does.
    "neg_elbo_nats": "the negative ELBO, an upper bound on the negative log-likelihood: "
    "reconstruction part plus KL",
    "recon_nats": "the reconstruction part of the negative ELBO",
    "kl_nats": "the KL of the posterior from N(0, I), summed over units: an upper bound on what a"
    " code says about its image",
    "mse": "the squared error of images decoded from drawn codes",
    "nll_nats": "the negative log-likelihood, estimated by importance sampling; for a Gaussian "
    "decoder that of a density, which may be negative",
    "nll_ess": "how many of the importance samples count: 1 where one weight decides",
    "nll_grid_nats": "the negative log-likelihood, integrated on a grid over all codes: for one and"
    " two latent units, and without the encoder",
    "nll_grid_error_nats": "how much nll_grid_nats changes, averaged over images, if only every"
    " second node of the grid counts: small if the grid is fine enough",
    "nll_fitted_nats": "the negative log-likelihood with the decoder variance that fits best",
    "nll_fitted_ess": "how many of the importance samples of nll_fitted_nats count",
    "fitted_sigma": "the standard deviation of the decoder that fits the model best",
    "frechet": "the Frechet distance between images of codes drawn from N(0, I) and the test "
    "images, in principal components of the training images: small for good samples",
    "frechet_gaussian": "frechet, of codes drawn from the Gaussian fitted to codes of training "
    "images",
    "frechet_mixture": "frechet, of codes drawn from a mixture of ten Gaussians fitted to codes of"
    " training images",
    "nearest_mse": "the squared error of images of the mixture to the nearest training image: 0 for"
    " copies",
    "nearest_recon_mse": "the same of reconstructed test images, which are no copies",
    "frechet_floor": "the Frechet distance between training and test images: a perfect model has"
    " this",
    # Whether it has collapsed.
    "collapse": "total: no unit is active; partial: some are not; healthy: all are",
    "active_units": "units whose posterior mean varies over images with a variance above 0.01",
    "active_directions": "directions of the code along which the posterior means vary over images"
    " with a variance above 0.01; unlike the number of active units, theirs does not change if "
    "the code is rotated",
    "mi_nats": "the mutual information of image and code: how much a code says about which image "
    "it is of",
    "mi_ceiling_nats": "the logarithm of the number of images: mi_nats cannot be larger",
    "marginal_kl_nats": "the KL of all codes together from N(0, I): kl_nats less mi_nats",
    "code_distance_to_prior": "the squared 2-Wasserstein distance from N(0, I) of the Gaussian "
    "with the mean and covariance of all codes",
    "output_variance_ratio": "the variance of the outputs over that of the images: 0 if the "
    "output ignores the input",
    "random_output_ratio": "how much outputs of random codes differ from those of encoded images,"
    " over the variance of the images",
    "shuffled_gap_nats": "how much worse the reconstruction gets if each image gets the code of "
    "another: 0 if codes do not matter",
    "code_distance": "the distance between drawn codes of two images",
    "mean_distance": "the distance between posterior means of two images",
    "decoder_sigma": "the standard deviation of the Gaussian decoder: 1, or the learned one",
    # How sharp its pictures are.
    "decoded_mean_mse": "the squared error of images decoded from posterior means",
    "mean_image_mse": "the squared error of the mean training image as the output for every image",
    "half_power_cycles": "the spatial frequency, in cycles per image, up to which the outputs "
    "keep half of the power of the images; f cycles are the detail of a picture of 2 f by 2 f "
    "pixels",
    "no_spectrum": "why nothing is said about spatial frequencies",
    "high_frequency_share": "the power of the outputs above half of the Nyquist frequency, over "
    "that of the images: 0 for blur, 1 for pictures as sharp as the images",
    "distance_to_mean": "of two training images: the distance of an output to their average, over"
    " the distance between the two",
    "distance_to_nearer": "of two training images: the distance of an output to the nearer one, "
    "over the distance between the two",
    "outputs_apart": "of two training images: the distance between their two outputs, over the "
    "distance between the images",
    # How the training went.
    "kl_first_nats": "the KL at the first training step",
    "kl_peak_nats": "the largest KL of any training step",
    "kl_last_nats": "the KL at the end of training",
    "recon_first": "the reconstruction error at the first training step",
    "recon_last": "the reconstruction error at the end of training",
    "constant_recon": "the reconstruction error of the mean image",
    "converged": "whether the training went on until the error was at rest",
    "growth_per_1000_steps": "the rate at which a waking unit grows, per 1,000 steps",
    "times": "recon_scale over the predicted threshold",
    # What was predicted.
    "gain_nats": "how much lower the objective is than that of the collapsed solution",
    "sigma_neg_elbo_nats": "the negative ELBO for the decoder variance that recon_scale amounts to",
    "gap_nats": "how much higher the negative ELBO is than the best possible one",
    "units_off": "how far the number of units is from the prediction",
    "kl_off": "how far the KL is from the prediction, over the deviation that the verdict allows",
    "directions_ratio": "active directions over the predicted number",
    "kl_ratio": "the KL over the predicted one",
    "gain_ratio": "the gain over the predicted one",
    "angle_degrees": "the largest angle between the decoder and the principal components that it "
    "must span",
}  # fmt: skip
RELATED = {
    "predicted_": "{name}, as the training images predict it",
    "pca_": "{name}, of images restored from as many principal components as latent units",
    "linear_": "{name}, of the best linear VAE at this scale",
}
ABBREVIATIONS = ("ELBO", "KL", "MI", "MSE", "NLL", "PCA")


def label(name: str) -> str:
    """A column as the heading of a table has it: KL nats for kl_nats."""
    words = name.split("_")
    return " ".join(word.upper() if word.upper() in ABBREVIATIONS else word for word in words)


def meaning(name: str) -> str:
    """What a column means; an empty text if it is not known."""
    for prefix, words in RELATED.items():
        if name not in MEANINGS and name.startswith(prefix):
            return words.format(name=name.removeprefix(prefix))
    return MEANINGS.get(name, "")
