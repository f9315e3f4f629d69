// The encoder and the decoder of vaejax.model, from the weights in the page.
//
// Pixels are in [0, 1] here, as in the test images; a model may have another range of its own.

/** The bytes of a base64 text. */
function bytesOf(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** The number that each pattern of 16 bits is, as an IEEE 754 half. */
function halfTable() {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    table[bits] =
      exponent === 0
        ? sign * fraction * 2 ** -24
        : exponent === 31
          ? NaN // the page holds finite weights only
          : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return table;
}

let halves = null;

/** Weights as float32, from a base64 text of little-endian float16 or float32. */
function numbersOf(text, type) {
  const { buffer } = bytesOf(text);
  if (type === "float32") return new Float32Array(buffer);
  halves ??= halfTable();
  const patterns = new Uint16Array(buffer);
  const numbers = new Float32Array(patterns.length);
  // A loop: `from` with a function takes many times as long, and all models are read at the start.
  for (let i = 0; i < numbers.length; i++) numbers[i] = halves[patterns[i]];
  return numbers;
}

/** What flax.linen calls these; its gelu is the one with tanh. */
const ACTIVATIONS = {
  relu: (x) => (x > 0 ? x : 0),
  leaky_relu: (x) => (x > 0 ? x : 0.01 * x),
  elu: (x) => (x > 0 ? x : Math.expm1(x)),
  gelu: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  silu: (x) => x / (1 + Math.exp(-x)),
  tanh: Math.tanh,
};

const OUTPUTS = {
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  tanh: Math.tanh,
  linear: (x) => x,
};

/** Dense layers of these sizes; `start` is where their weights begin. */
function denseLayers(weights, sizes, start) {
  const layers = [];
  let at = start;
  for (let i = 0; i + 1 < sizes.length; i++) {
    const [inputs, outputs] = [sizes[i], sizes[i + 1]];
    const kernel = weights.subarray(at, at + inputs * outputs); // [inputs, outputs]
    at += inputs * outputs;
    layers.push({ inputs, outputs, kernel, bias: weights.subarray(at, at + outputs) });
    at += outputs;
  }
  return { layers, end: at };
}

/** The nets of one model. */
function makeNets(config, shape, text, type) {
  const weights = numbersOf(text, type);
  const pixels = shape[0] * shape[1] * shape[2];
  const latent = config.latent_size;
  const encoder = denseLayers(weights, [pixels, ...config.encoder_widths, 2 * latent], 0);
  const decoder = denseLayers(weights, [latent, ...config.decoder_widths, pixels], encoder.end);
  if (decoder.end !== weights.length) throw new Error("the weights do not fit the layers");
  return { config, encoder: encoder.layers, decoder: decoder.layers };
}

/** Dense layers with an activation between them; the last layer is linear. */
function applyMLP(layers, activation, inputs) {
  const f = ACTIVATIONS[activation];
  let values = inputs;
  layers.forEach((layer, index) => {
    const { outputs, kernel } = layer;
    const sums = Float64Array.from(layer.bias);
    for (let i = 0; i < layer.inputs; i++) {
      const value = values[i];
      if (value === 0) continue;
      const row = i * outputs;
      for (let j = 0; j < outputs; j++) sums[j] += value * kernel[row + j];
    }
    values = index + 1 < layers.length ? sums.map(f) : sums;
  });
  return values;
}

/**
 * The posterior of an image: its mean, and for a VAE the standard deviation sigma and the KL from
 * the prior, in nats, of each unit. An autoencoder has a mean only.
 */
function encode(nets, pixels) {
  const { config } = nets;
  const signed = config.pixel_range === "signed";
  const x = Float64Array.from(pixels, (p) => (signed ? 2 * p - 1 : p - config.centre));
  const outputs = applyMLP(nets.encoder, config.encoder_activation, x);
  const mean = outputs.slice(0, config.latent_size);
  if (config.model === "ae") return { mean, sigma: null, kl: null };
  const logvar = outputs.slice(config.latent_size);
  const sigma = logvar.map((value) => Math.exp(value / 2));
  const kl = mean.map((m, i) => (m * m + Math.expm1(logvar[i]) - logvar[i]) / 2);
  return { mean, sigma, kl };
}

/** The mean image of a code, in [0, 1]; with a linear output some pixels may lie outside. */
function decode(nets, code) {
  const { config } = nets;
  const output = OUTPUTS[config.output];
  const signed = config.pixel_range === "signed";
  const logits = applyMLP(nets.decoder, config.decoder_activation, code);
  return logits.map((value) => (signed ? (output(value) + 1) / 2 : output(value)));
}

/** Standard normal numbers that depend on the seed alone (mulberry32, then Box and Muller). */
function normalGenerator(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}
