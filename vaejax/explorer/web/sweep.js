// Several models that differ in recon_scale alone: charts over the scale, the KL of each unit, one
// image at every scale, and a strip of reconstructions. `app` is in explorer.js.

const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes = {}, text = "") {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
}

/** A number with so many significant digits, without needless zeros. */
function short(value, digits = 3) {
  if (value === 0) return "0";
  if (Math.abs(value) >= 10 ** digits) return String(Math.round(value));
  const rounded = Number(value.toPrecision(digits));
  return Math.abs(rounded) < 1e-4 ? rounded.toExponential() : String(rounded);
}

/** A number with so many decimals, and no minus sign before a zero. */
const fixed = (value, decimals) => value.toFixed(decimals).replace(/^-(0\.0*)$/, "$1");

/** A KL: three significant digits, but none beyond a thousandth of a nat. */
const nats = (value) => (value < 1e-3 ? fixed(value, 3) : short(value));

const sum = (values) => values.reduce((total, value) => total + value, 0);
const byFalling = (values) => [...values.keys()].sort((a, b) => values[b] - values[a]);

// ---- the axis of scales ----

/** The predicted recon_scale at which the first unit wakes, if there is one. */
const thresholdOf = (part) => part.theory?.thresholds[0];

/** Where a recon_scale lies on a logarithmic axis from 0 to 1, around all models and the first
 * threshold. */
function scaleAxis(part) {
  const marks = part.models.map((model) => model.recon_scale);
  if (thresholdOf(part)) marks.push(thresholdOf(part));
  const low = Math.min(...marks) / 1.5;
  const high = Math.max(...marks) * 1.5;
  return { low, high, place: (scale) => Math.log(scale / low) / Math.log(high / low) };
}

/** The number of the model whose scale is nearest to a place on the axis. */
function modelNear(part, place) {
  const axis = scaleAxis(part);
  const away = part.models.map((model) => Math.abs(axis.place(model.recon_scale) - place));
  return away.indexOf(Math.min(...away));
}

// ---- words ----

/** How a scale compares with the threshold. */
function thresholdWords(part, model) {
  if (!thresholdOf(part)) return "";
  const times = model.recon_scale / thresholdOf(part);
  return times < 1
    ? `below the threshold (${short(times, 2)} of it)`
    : `${short(times, 2)} times the threshold`;
}

/** The balance of the two terms of the objective, as a standard deviation or as a beta. */
function balance(model) {
  if (model.decoder_sigma != null) return ["learned sigma", short(model.decoder_sigma)];
  if (model.effective_sigma != null) return ["effective sigma", short(model.effective_sigma)];
  return ["effective beta", short(model.effective_beta)];
}

/** One line about a model, as nodes: what it was trained with, and what was measured. */
function captionOf(part, model) {
  const facts = [["recon_scale", short(model.recon_scale, 4), thresholdWords(part, model)]];
  if (isVae(part)) {
    facts.push([...balance(model), ""]);
    const units = model.predicted_units;
    const predicted = units == null ? "" : `predicted ${units}`;
    facts.push(["active units", `${model.active_units} of ${part.config.latent_size}`, predicted]);
    const kl = model.predicted_kl_per_unit;
    facts.push(["KL", `${nats(model.kl_nats)} nats`, kl ? `predicted ${nats(sum(kl))}` : ""]);
  }
  facts.push(["MSE", model.mse.toFixed(4), ""]);
  return facts.map(([name, value, more]) => {
    const words = more ? (name === "recon_scale" ? `, ${more}` : ` (${more})`) : "";
    return element("span", {}, `${name} `, element("b", {}, value), words);
  });
}

/** What the words of a caption mean. */
function termsOf(part, model) {
  if (!isVae(part)) {
    return "MSE: the squared error averaged over pixels in [0, 1] and over the test images.";
  }
  const [name] = balance(model);
  const meaning = {
    "learned sigma": "The standard deviation of the decoder was learned with the weights.",
    "effective sigma":
      "Effective sigma: the standard deviation of the Gaussian decoder at which this objective is " +
      "the ELBO, up to a factor and a constant.",
    "effective beta":
      "Effective beta: the weight of the KL beside the negative log-likelihood, as in a beta-VAE; " +
      "at 1 the objective is the ELBO, up to a factor.",
  }[name];
  const theory = {
    "learned sigma":
      " Predicted are the units that wake first: each lowers the learned variance, and with it the " +
      "thresholds of the rest.",
    "effective sigma": " Predicted is what the best linear VAE has.",
    "effective beta":
      " Predictions are those of linear theory, which for cross entropy holds near the threshold.",
  }[name];
  const predicted = model.predicted_units == null ? "" : theory;
  return `${meaning} MSE: for pixels in [0, 1], one code drawn for each test image.${predicted}`;
}

function introOf(part) {
  const theory = thresholdOf(part);
  const vae = isVae(part);
  const { kl_weight: weight, free_bits: free } = part.models[0];
  const kl = `${weight === 1 ? "" : `${short(weight)} × `}KL${free ? `, where ${short(free)} nats of each unit are free` : ""}`;
  const words =
    `These ${part.models.length} models were trained alike, each to minimize recon_scale × error` +
    `${vae ? ` + ${kl}` : ""}. The error is averaged over pixels${vae ? ", the KL is in nats" : ""}. ` +
    "Only recon_scale, the weight of the reconstruction, differs. ";
  if (!theory) return vae ? `${words}For their settings the theory predicts no threshold.` : words;
  return (
    `${words}From the training images alone, linear theory predicts a threshold of ` +
    `${short(theory)}. Below it a latent unit costs more KL than it saves error, the posterior ` +
    "becomes the prior, and every image comes back as the mean image. Move the slider across it."
  );
}

// ---- charts over the scale ----

const CHART = { left: 44, right: 16, panel: 112, gap: 40, top: 24, bottom: 24 };

/** Two panels over one axis: the number of active units, and the KL; predicted and measured. */
function drawCharts(part) {
  const box = byId("charts");
  const width = Math.max(box.clientWidth, 240);
  const axis = scaleAxis(part);
  const inner = width - CHART.left - CHART.right;
  const x = (scale) => CHART.left + inner * axis.place(scale);
  const height = CHART.top + 2 * CHART.panel + CHART.gap + CHART.bottom;
  const chart = svg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    height,
    role: "img",
    "aria-label":
      "Active units and KL over recon_scale, predicted by the linear theory and measured",
  });
  const bottom = height - CHART.bottom;
  const thresholds = (part.theory ? part.theory.thresholds : []).filter((t) => t < axis.high);
  if (thresholds.length) {
    const edge = x(thresholds[0]);
    chart.append(
      svg("rect", {
        class: "asleep",
        x: CHART.left,
        y: CHART.top,
        width: edge - CHART.left,
        height: bottom - CHART.top,
      }),
    );
    for (const at of thresholds.slice(1)) {
      const tick = { x1: x(at), x2: x(at), y1: bottom - 7, y2: bottom };
      chart.append(svg("line", { class: "threshold-more", ...tick }));
    }
    chart.append(
      svg("line", { class: "threshold", x1: edge, x2: edge, y1: CHART.top - 6, y2: bottom }),
    );
    const side = edge - CHART.left > 98 ? -8 : 8;
    const anchor = { x: edge + side, class: "threshold-name" };
    anchor["text-anchor"] = side < 0 ? "end" : "start";
    const middle = CHART.top + CHART.panel / 2;
    chart.append(
      svg("text", { ...anchor, y: middle - 4 }, `threshold ${short(thresholds[0])}`),
      svg("text", { ...anchor, y: middle + 13 }, "below: collapse"),
    );
  }
  const here = svg("line", { class: "here", id: "here", y1: CHART.top - 6, y2: bottom });
  chart.append(here);
  const most = part.config.latent_size;
  panel(chart, part, x, axis, CHART.top, {
    title: `Active units, of ${most}`,
    most,
    measured: (model) => model.active_units,
    path: stairs(thresholds, axis),
  });
  const curve = part.theory && part.theory.curve;
  const kls = part.models.map((model) => model.kl_nats);
  const expected = part.models.map((model) => sum(model.predicted_kl_per_unit || [0]));
  panel(chart, part, x, axis, CHART.top + CHART.panel + CHART.gap, {
    title: "KL, nats per image",
    most: Math.max(...kls, ...expected, 1e-3) * 1.05,
    measured: (model) => model.kl_nats,
    path: curve ? curve.scale.map((scale, i) => [scale, curve.kl[i]]) : [],
  });
  for (let power = Math.ceil(Math.log10(axis.low)); 10 ** power < axis.high; power++) {
    const at = x(10 ** power);
    chart.append(svg("line", { class: "axis", x1: at, x2: at, y1: bottom, y2: bottom + 5 }));
    const label = { x: at, y: bottom + 18, "text-anchor": "middle" };
    chart.append(svg("text", label, String(Number((10 ** power).toPrecision(1)))));
  }
  box.replaceChildren(chart);
  const row = byId("scale-row"); // the thumb is 24 pixels wide
  row.style.margin = `0 ${CHART.right - 12}px 0 ${CHART.left - 12}px`;
}

/** The predicted number of units as points of a staircase. */
function stairs(thresholds, axis) {
  const points = thresholds.flatMap((at, index) => [
    [at, index],
    [at, index + 1],
  ]);
  return [[axis.low, 0], ...points, [axis.high, thresholds.length]];
}

function panel(chart, part, x, axis, top, { title, most, measured, path }) {
  const bottom = top + CHART.panel;
  const y = (value) => bottom - (CHART.panel - 4) * Math.min(1.05, value / most);
  chart.append(svg("text", { class: "strong", x: CHART.left - 40, y: top - 12 }, title));
  levels(chart, most, y, CHART.left, x(axis.high));
  const shown = path.filter(([scale]) => scale >= axis.low && scale <= axis.high);
  if (part.theory && shown.length) {
    const points = shown.map(([scale, value]) => `${x(scale)},${y(value)}`).join(" ");
    chart.append(svg("polyline", { class: "predicted", points }));
  }
  part.models.forEach((model, index) => {
    const at = { cx: x(model.recon_scale), cy: y(measured(model)), r: 5 };
    const dot = svg("circle", { class: "dot", "data-model": index, ...at });
    dot.append(
      svg("title", {}, `recon_scale ${short(model.recon_scale, 4)}: ${short(measured(model))}`),
    );
    chart.append(dot);
  });
}

/** Lines at 0 and at a round number, with their values. */
function levels(chart, most, y, left, right) {
  for (const value of [0, niceStep(most)]) {
    const at = y(value);
    chart.append(
      svg("line", { class: "axis", x1: left, x2: right, y1: at, y2: at }),
      svg("text", { x: left - 6, y: at + 4, "text-anchor": "end" }, short(value)),
    );
  }
}

/** The largest of 1, 2, 5 times a power of ten that is not above a number. */
function niceStep(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return power * [5, 2, 1].find((step) => step * power <= most * 1.0001);
}

/** Mark the model that is shown. */
function markScale(part, model) {
  const index = part.models.indexOf(model);
  document.querySelectorAll("#scales button").forEach((button, i) => {
    button.setAttribute("aria-pressed", String(i === index));
  });
  const slider = byId("scale");
  slider.value = Math.round(1000 * scaleAxis(part).place(model.recon_scale));
  const words = `recon_scale ${short(model.recon_scale, 4)}, ${thresholdWords(part, model)}`;
  slider.setAttribute("aria-valuetext", words.replace(/, $/, ""));
  const chart = document.querySelector("#charts svg");
  if (!chart) return;
  for (const dot of chart.querySelectorAll(".dot")) {
    const shown = Number(dot.dataset.model) === index;
    dot.classList.toggle("shown", shown);
    dot.setAttribute("r", shown ? 7 : 5);
    if (shown) {
      const here = chart.querySelector("#here");
      here.setAttribute("x1", dot.getAttribute("cx"));
      here.setAttribute("x2", dot.getAttribute("cx"));
    }
  }
}

// ---- one image at every scale ----

/** Image B, the one that was chosen last, as each model reconstructs it. The predicted threshold
 * stands between the two pictures where it lies. */
function drawScales(part) {
  const index = app.pair[1];
  const steps = part.models.map((model, step) => {
    const scale = short(model.recon_scale, 4);
    const button = element(
      "button",
      { type: "button", "aria-label": `recon_scale ${scale}: move the slider there` },
      imageCanvas("", reconstruction(model, index)),
      scale,
    );
    button.addEventListener("click", () => chooseModel(step));
    return button;
  });
  const threshold = thresholdOf(part);
  if (threshold) {
    const asleep = part.models.filter((model) => model.recon_scale < threshold).length;
    const mark = element("div", { class: "threshold" }, "threshold ", short(threshold));
    steps.splice(asleep, 0, mark);
  }
  const input = element("div", {}, imageCanvas("image B", testPixels(index)), "input");
  byId("scales").replaceChildren(input, ...steps);
}

// ---- the KL of each unit ----

const BARS = { left: 36, right: 4, height: 340, top: 8, bottom: 22 };
const MOST_LABELLED = 20;

/** Bars for all units, without heights; `showBars` moves them. */
function drawBars(part) {
  const box = byId("bars");
  const width = Math.max(box.clientWidth, 200);
  const units = part.config.latent_size;
  const chart = svg("svg", {
    viewBox: `0 0 ${width} ${BARS.height}`,
    height: BARS.height,
    role: "img",
  });
  const slot = (width - BARS.left - BARS.right) / units;
  const floor = BARS.height - BARS.bottom;
  const most = highestBar(part);
  const y = (value) => floor - (value / most) * (floor - BARS.top);
  levels(chart, most, y, BARS.left, width - BARS.right);
  const middle = { y: floor + 16, "text-anchor": "middle" };
  for (let rank = 0; rank < units; rank++) {
    const left = BARS.left + rank * slot;
    const at = { y: floor, height: 0 };
    chart.append(svg("rect", { class: "bar", x: left + 0.1 * slot, width: 0.42 * slot, ...at }));
    if (part.theory && part.theory.curve && units <= MOST_LABELLED) {
      chart.append(
        svg("rect", { class: "expected", x: left + 0.52 * slot, width: 0.36 * slot, ...at }),
      );
    }
    if (units <= MOST_LABELLED) {
      chart.append(svg("text", { class: "unit-name", x: left + slot / 2, ...middle }));
    }
  }
  if (units > MOST_LABELLED) {
    const label = { x: (BARS.left + width) / 2, ...middle };
    chart.append(svg("text", label, `${units} units, the largest KL first`));
    for (const bar of chart.querySelectorAll(".bar")) bar.setAttribute("width", 0.9 * slot);
    chart.append(svg("polyline", { class: "expected" })); // too many for a bar each
  }
  box.replaceChildren(chart);
}

function highestBar(part) {
  const all = part.models.flatMap((m) => [
    ...m.kl_per_unit_nats,
    ...(m.predicted_kl_per_unit || []),
  ]);
  return Math.max(...all, 1e-3) * 1.05;
}

/** Move the bars to the numbers of a model: units by falling KL, beside the predicted ones. */
function showBars(part, model) {
  const chart = document.querySelector("#bars svg");
  if (!chart) return;
  const most = highestBar(part);
  const floor = BARS.height - BARS.bottom;
  const order = byFalling(model.kl_per_unit_nats);
  const rise = (bar, value) => {
    const height = (value / most) * (floor - BARS.top);
    bar.setAttribute("y", floor - height);
    bar.setAttribute("height", height);
    bar.setAttribute("data-value", value);
  };
  const dead = (unit) => model.variance_per_unit[unit] <= app.page.active_variance;
  chart.querySelectorAll(".bar").forEach((bar, rank) => {
    rise(bar, model.kl_per_unit_nats[order[rank]]);
    bar.classList.toggle("dead", dead(order[rank]));
  });
  const expected = model.predicted_kl_per_unit;
  chart.querySelectorAll("rect.expected").forEach((bar, rank) => rise(bar, expected[rank] || 0));
  const line = chart.querySelector("polyline.expected");
  if (line && expected) {
    const slot = (chart.viewBox.baseVal.width - BARS.left - BARS.right) / expected.length;
    const points = expected.flatMap((value, rank) => {
      const y = floor - (value / most) * (floor - BARS.top);
      return [`${BARS.left + rank * slot},${y}`, `${BARS.left + (rank + 1) * slot},${y}`];
    });
    line.setAttribute("points", points.join(" "));
  }
  chart.querySelectorAll(".unit-name").forEach((text, rank) => (text.textContent = order[rank]));
  const asleep = order.filter(dead).sort((a, b) => a - b);
  const words = deadWords(asleep, part.config.latent_size);
  byId("bars-expected").hidden = !expected;
  byId("bars-words").textContent =
    `${words} A unit is dead if its posterior mean has a ` +
    `variance of ${app.page.active_variance} or less over the test images.`;
  chart.setAttribute("aria-label", `KL of each unit. ${words}`);
}

function deadWords(dead, units) {
  if (!dead.length) return units === 1 ? "The unit is active." : `All ${units} units are active.`;
  if (dead.length === units)
    return units === 1 ? "The unit is dead." : `All ${units} units are dead.`;
  if (dead.length > MOST_LABELLED) return `${dead.length} of ${units} units are dead.`;
  return `Dead: ${dead.length === 1 ? "unit" : "units"} ${dead.join(", ")}.`;
}

// ---- the strip of test images ----

const FIRST_ON_A_PHONE = 5;

function drawStrip() {
  const strip = byId("strip");
  const late = (rank) => (rank >= FIRST_ON_A_PHONE ? "late" : null);
  const inputs = app.page.strip.map((index, rank) => {
    const label = `test image ${index}, ${className(app.page.labels[index])}`;
    const button = element(
      "button",
      { type: "button", class: late(rank), "data-index": index, "aria-label": label },
      element("b"),
      imageCanvas("", testPixels(index)),
    );
    button.addEventListener("click", () => {
      if (index !== app.pair[1]) app.pair = [app.pair[1], index];
      drawScales(app.part);
      markScale(app.part, app.model);
      showPair(app.model);
    });
    return button;
  });
  const outputs = app.page.strip.map((index, rank) => {
    const canvas = imageCanvas(`reconstruction of test image ${index}`);
    return element("div", { class: late(rank) }, canvas);
  });
  const mean = Float64Array.from(bytesOf(app.page.mean_image), (b) => b / 255);
  strip.replaceChildren(
    element("span", {}, "input"),
    ...inputs,
    element("span", {}, "output"),
    ...outputs,
    element("span", {}, "mean of all training images"),
    imageCanvas("mean of all training images", mean),
  );
}

/** Mark the two images that are compared, and compare them. */
function showPair(model) {
  for (const button of document.querySelectorAll("#strip button")) {
    const place = app.pair.indexOf(Number(button.dataset.index));
    button.classList.remove("a", "b");
    if (place >= 0) button.classList.add("ab"[place]);
    button.querySelector("b").textContent = place >= 0 ? "AB"[place] : "";
    button.setAttribute("aria-pressed", String(place >= 0));
  }
  if (isVae()) showClouds(model);
  showPath(model);
}

function showStrip(model) {
  document.querySelectorAll("#strip > div canvas").forEach((canvas, rank) => {
    paint(canvas, reconstruction(model, app.page.strip[rank]));
  });
}

/** Everything of a part that does not depend on which of its models is shown. */
function drawSweep(part) {
  const several = part.models.length > 1;
  const vae = isVae(part);
  byId("sweep").hidden = !several;
  if (!several) return;
  byId("sweep-intro").textContent = introOf(part);
  for (const id of ["bars-card", "clouds-card", "charts", "charts-key"]) {
    byId(id).hidden = !vae;
  }
  if (vae) {
    drawCharts(part);
    drawBars(part);
  }
  drawScales(part);
  drawStrip();
}

function showSweep(part, model) {
  if (part.models.length < 2) return;
  markScale(part, model);
  byId("caption").replaceChildren(...captionOf(part, model));
  byId("terms").textContent = termsOf(part, model);
  if (isVae(part)) showBars(part, model);
  showPair(model);
  showStrip(model);
}
