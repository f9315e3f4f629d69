// One model: an encoded image, a slider for each unit, samples and traversals. `app` is in explorer.js.

const FIRST_UNITS = 10; // more of them are folded away
const STEPS = 11; // images in a traversal
const SAMPLES = 24;

// ---- the range of units ----

/** From where to where a unit is shown: around 0 for a VAE, whose prior is N(0, I); around the codes
 * of the test images for an autoencoder, which has none. */
function rangeOf(model, unit) {
  model.ranges = model.ranges || [];
  if (!model.ranges[unit]) {
    const values = codesOf(model).map(({ mean }) => mean[unit]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const margin = 0.06 * (high - low) || 1;
    const reach = Math.max(3.5, 1.06 * Math.max(high, -low));
    const vae = isVae();
    model.ranges[unit] = vae ? [-reach, reach] : [low - margin, high + margin];
  }
  return model.ranges[unit];
}

/** From where to where a traversal goes. */
const traversalRange = (model, unit) => (isVae() ? [-3, 3] : rangeOf(model, unit));

/** Units by falling KL; those of an autoencoder by the falling variance of their codes. */
function orderOf(model) {
  return byFalling(isVae() ? model.kl_per_unit_nats : model.variance_per_unit);
}

function isDead(model, unit) {
  return isVae() && model.variance_per_unit[unit] <= app.page.active_variance;
}

/** What a unit carries, in words. */
function unitStatus(model, unit) {
  const variance = short(model.variance_per_unit[unit], 2);
  if (!isVae()) return `codes have a variance of ${variance}`;
  const kl = `KL ${fixed(model.kl_per_unit_nats[unit], 2)} nats`;
  return isDead(model, unit)
    ? `dead: its mean hardly varies with the image; ${kl}`
    : `active, ${kl}`;
}

// ---- units ----

function drawUnits() {
  const order = orderOf(app.model);
  const rows = order.map((unit) => {
    const [low, high] = rangeOf(app.model, unit);
    const id = `unit-${unit}`;
    const slider = element("input", {
      type: "range",
      id,
      min: low,
      max: high,
      step: "any",
      "aria-describedby": `${id}-status`,
    });
    slider.addEventListener("input", () => {
      app.code[unit] = Number(slider.value);
      showCode();
    });
    slider.addEventListener("keydown", (event) => {
      if (!ARROWS[event.key]) return;
      const step = sum(ARROWS[event.key]) / 100; // of the range: browsers do not agree upon it
      const moved = app.code[unit] + step * (high - low);
      app.code[unit] = Math.min(high, Math.max(low, moved));
      showCode();
      event.preventDefault();
    });
    return element(
      "div",
      { class: isDead(app.model, unit) ? "unit dead" : "unit", "data-unit": unit },
      element("label", { for: id }, `unit ${unit}`),
      element("output", { for: id }),
      element("span", { class: "status", id: `${id}-status` }, unitStatus(app.model, unit)),
      slider,
      element("div", { class: "interval", "aria-hidden": "true" }, element("i")),
      element("span", { class: "posterior" }),
    );
  });
  byId("units").replaceChildren(...rows.slice(0, FIRST_UNITS));
  fold("more-units", rows.slice(FIRST_UNITS));
  const vae = isVae();
  const dead = order.filter((unit) => isDead(app.model, unit)).length;
  byId("units-words").textContent = vae
    ? `By falling KL. ${order.length - dead} of ${order.length} are active. The bar below a slider is the ` +
      "posterior of the encoded image in this unit, one sigma to each side of its mean."
    : "By falling variance of their codes. An autoencoder gives a single code, without a width.";
}

/** Put rows into a part of the page that is folded away; without rows hide it. */
function fold(id, rows) {
  const details = byId(id);
  details.hidden = !rows.length;
  details.querySelector("summary").textContent = `${rows.length} more units`;
  details.querySelector("div").replaceChildren(...rows);
}

function showUnits() {
  for (const row of document.querySelectorAll(".unit")) {
    const unit = Number(row.dataset.unit);
    const value = app.code[unit];
    row.querySelector("input").value = value;
    row.querySelector("output").textContent = fixed(value, 2);
  }
}

/** The posterior of the encoded image in each unit. */
function showPosterior() {
  const { posterior } = app.source;
  for (const row of document.querySelectorAll(".unit")) {
    const unit = Number(row.dataset.unit);
    const [low, high] = rangeOf(app.model, unit);
    const mean = posterior.mean[unit];
    const sigma = posterior.sigma ? posterior.sigma[unit] : 0;
    const place = (value) => 100 * Math.min(1, Math.max(0, (value - low) / (high - low)));
    const bar = row.querySelector(".interval i");
    bar.style.left = `${place(mean - sigma)}%`;
    bar.style.width = `${place(mean + sigma) - place(mean - sigma)}%`;
    const words = posterior.sigma
      ? `encoded: mean ${fixed(mean, 3)}, sigma ${fixed(sigma, 3)}, KL ${fixed(posterior.kl[unit], 3)}`
      : `encoded: ${fixed(mean, 3)}`;
    row.querySelector(".posterior").textContent = words;
    Object.assign(row.dataset, { mean, sigma: posterior.sigma ? sigma : "" });
    row.dataset.kl = posterior.kl ? posterior.kl[unit] : "";
  }
}

// ---- the code and the encoded image ----

let slowly = 0;

/** Decode the code, wherever it came from. */
function showCode() {
  const canvas = document.querySelector("#decoded canvas");
  paint(canvas, decode(netsOf(app.model), app.code));
  showUnits();
  drawPad();
  const where = app.axes.map((unit) => `unit ${unit}: ${fixed(app.code[unit], 2)}`).join(", ");
  byId("pad-where").textContent = `Code at ${where}`;
  clearTimeout(slowly);
  slowly = setTimeout(showTraversals, 150);
}

function showTestImage(index) {
  app.source = { kind: "test", index, pixels: testPixels(index) };
  showSource();
}

/** Encode the image of the source, and move the code to its posterior mean. */
function showSource() {
  const nets = netsOf(app.model);
  const { kind, index, pixels } = app.source;
  const posterior = encode(nets, pixels);
  app.source.posterior = posterior;
  app.code = Float64Array.from(posterior.mean);
  const output = decode(nets, posterior.mean);
  paint(document.querySelector("#input canvas"), pixels);
  paint(document.querySelector("#output canvas"), output);
  if (kind === "drawn") {
    paint(document.querySelector("#pen-input canvas"), pixels);
    paint(document.querySelector("#pen-output canvas"), output);
  }
  const name =
    kind === "test"
      ? `Test image ${index}: ${className(app.page.labels[index])}.`
      : "Your drawing.";
  const error = sum([...pixels].map((p, i) => (p - output[i]) ** 2)) / pixels.length;
  const kl = posterior.kl ? `, KL ${fixed(sum([...posterior.kl]), 2)} nats` : "";
  byId("encoded-words").textContent = `${name} Error (MSE) ${fixed(error, 4)}${kl}.`;
  showPosterior();
  showCode();
}

// ---- samples and traversals ----

function showSamples() {
  const vae = isVae();
  const normal = normalGenerator(app.sampleSeed);
  const nets = netsOf(app.model);
  byId("samples").replaceChildren(
    ...Array.from({ length: SAMPLES }, (_, index) => {
      const code = Float64Array.from({ length: app.part.config.latent_size }, normal);
      const button = element(
        "button",
        { type: "button", "aria-label": `sample ${index + 1}: move the code there` },
        imageCanvas("", decode(nets, code)),
      );
      button.addEventListener("click", () => {
        app.code = code.slice();
        showCode();
      });
      return button;
    }),
  );
  byId("samples-title").textContent = vae ? "Samples from the prior" : "Decoded Gaussian codes";
  byId("samples-words").textContent =
    (vae
      ? "Codes are drawn from N(0, I) and decoded. "
      : "An autoencoder has no prior. These are its outputs for codes from N(0, I), which need not be where its codes lie. ") +
    `Click one to move the code there. Seed ${app.sampleSeed}.`;
}

function traversalRow(unit) {
  const name = element("span", {}, `unit ${unit}`);
  name.append(element("small", {}, isDead(app.model, unit) ? "dead" : shortStatus(unit)));
  const canvases = Array.from({ length: STEPS }, () => imageCanvas());
  const [low, high] = traversalRange(app.model, unit);
  const label = `unit ${unit} from ${short(low)} to ${short(high)}`;
  return element(
    "div",
    { class: "traversal", role: "img", "data-unit": unit, "aria-label": label },
    name,
    ...canvases,
  );
}

function shortStatus(unit) {
  return isVae() ? `KL ${fixed(app.model.kl_per_unit_nats[unit], 2)}` : "";
}

function drawTraversals() {
  const order = orderOf(app.model);
  const vae = isVae();
  const ticks = Array.from({ length: STEPS }, (_, i) =>
    element("span", {}, vae ? short(-3 + (6 * i) / (STEPS - 1)) : ""),
  );
  const heading = element("div", { class: "traversal ticks" }, element("span"), ...ticks);
  byId("traversals").replaceChildren(heading, ...order.slice(0, FIRST_UNITS).map(traversalRow));
  fold("more-traversals", order.slice(FIRST_UNITS).map(traversalRow));
  byId("traversals-words").textContent = vae
    ? "Each row moves one unit from -3 to 3, three standard deviations of the prior to each side. The other units stay at the present code."
    : "Each row moves one unit over the range of its codes. The other units stay at the present code.";
}

function showTraversals() {
  const nets = netsOf(app.model);
  const open = byId("more-traversals").open;
  const rows = document.querySelectorAll(
    `#traversals .traversal[data-unit]${open ? ", #more-traversals .traversal" : ""}`,
  );
  const code = Float64Array.from(app.code);
  for (const row of rows) {
    const unit = Number(row.dataset.unit);
    const [low, high] = traversalRange(app.model, unit);
    row.querySelectorAll("canvas").forEach((canvas, i) => {
      code[unit] = low + ((high - low) * i) / (STEPS - 1);
      paint(canvas, decode(nets, code));
    });
    code[unit] = app.code[unit];
  }
}

// ---- all of it ----

/** Everything that is about one model. */
function showModel() {
  const { part, model } = app;
  const several = part.models.length > 1;
  byId("one-title").textContent = several
    ? `The model at recon_scale ${short(model.recon_scale, 4)}`
    : isVae(part)
      ? "The VAE"
      : "The autoencoder";
  for (const id of ["one-caption", "one-terms"]) {
    byId(id).hidden = several; // they stand below the slider
  }
  byId("one-terms").textContent = termsOf(part, model);
  byId("one-caption").replaceChildren(...captionOf(part, model));
  if (!app.unitsChosen || app.axes.some((unit) => unit >= part.config.latent_size)) {
    app.axes = orderOf(model).slice(0, 2);
    app.unitsChosen = false;
  }
  drawChoosers();
  drawUnits();
  drawTraversals();
  showSamples();
  labelPad();
  showSource();
}

function labelPad() {
  const place = isVae() ? "its posterior mean" : "its code";
  byId("pad-help").textContent =
    `Each dot is a test image at ${place} in the chosen units. Click a dot to encode its image; ` +
    "drag anywhere else to move the code. Keys: arrows move the code, Enter encodes the nearest image.";
  const names = ["across", "up"].slice(0, app.axes.length);
  const axes = names.map((name, axis) => `unit ${app.axes[axis]} ${name}`).join(", ");
  byId("pad").setAttribute("aria-label", `Latent space: ${axes}`);
}

function listenToModel() {
  listenToPad();
  listenToPen();
  ["unit-x", "unit-y"].forEach((id, axis) => {
    byId(id).addEventListener("change", (event) => {
      const unit = Number(event.target.value);
      if (app.axes[1 - axis] === unit) app.axes[1 - axis] = app.axes[axis]; // they change places
      app.axes[axis] = unit;
      app.unitsChosen = true;
      drawChoosers();
      labelPad();
      showCode();
    });
  });
  for (const id of ["numerals", "manifold"])
    byId(id).addEventListener("change", drawPad);
  const count = app.page.labels.length;
  const step = (by) => {
    const { kind, index } = app.source;
    showTestImage(kind === "test" ? (index + by + count) % count : 0);
  };
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("zero").addEventListener("click", () => {
    app.code = new Float64Array(app.part.config.latent_size);
    showCode();
  });
  byId("samples-new").addEventListener("click", () => {
    app.sampleSeed += 1;
    showSamples();
  });
  byId("more-traversals").addEventListener("toggle", showTraversals);
}

/** What of this part of the page is the same for all models. */
function prepareModel() {
  const labels = {
    between: "image decoded between A and B",
    decoded: "image decoded from the code",
    input: "encoded image",
    output: "its reconstruction",
    "pen-input": "your drawing as the model sees it",
    "pen-output": "reconstruction of your drawing",
  };
  for (const [id, label] of Object.entries(labels)) {
    byId(id).replaceChildren(imageCanvas(label));
  }
  const grey = app.page.shape[2] === 1;
  byId("pen-card").hidden = !grey;
  document.querySelector(".left").classList.toggle("no-pen", !grey);
  drawLegend();
  drawPen();
  listenToModel();
}
