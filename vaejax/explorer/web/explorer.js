// The page: what it holds, which model it shows, and what happens when that changes.

const app = {
  page: JSON.parse(byId("page").textContent),
  part: null, // models that differ in recon_scale alone
  model: null,
  bytes: {}, // of the test images, by the name of how a model sees them
  pair: [0, 1], // the test images that are compared
  classes: [],
  source: null, // the encoded image: kind, index, pixels, posterior
  code: new Float64Array(0), // the code that is decoded
  axes: [0, 1], // the units across and up
  unitsChosen: false,
  highlight: null, // the class that is seen alone
  sampleSeed: 1,
};

const isVae = (part = app.part) => part.config.model === "vae";

/** The pixels of a test image in [0, 1], as the models that are shown see it. */
function testPixels(index) {
  const [height, width, channels] = app.page.shape;
  const count = height * width * channels;
  const name = app.part.pictures;
  app.bytes[name] ??= bytesOf(app.page.pictures[name]);
  return Float64Array.from(
    app.bytes[name].subarray(index * count, (index + 1) * count),
    (b) => b / 255,
  );
}

/** A class in words: its number, and its name where classes have one. */
function className(label) {
  return String(app.page.class_names?.[label] ?? label);
}

/** The encoder and the decoder of a model. */
function netsOf(model) {
  const text = () => byId(model.weights).textContent;
  model.nets ??= makeNets(app.part.config, app.page.shape, text(), app.page.weights);
  return model.nets;
}

/** The posterior of every test image on the page. */
function codesOf(model) {
  const nets = netsOf(model);
  model.codes ??= app.page.labels.map((_, index) => encode(nets, testPixels(index)));
  return model.codes;
}

/** A test image as a model reconstructs it. All codes of a model take long: here one will do. */
function reconstruction(model, index) {
  const nets = netsOf(model);
  const posterior = model.codes ? model.codes[index] : encode(nets, testPixels(index));
  return decode(nets, posterior.mean);
}

function choosePart(index) {
  app.part = app.page.parts[index];
  byId("part").value = index;
  const { about, split, steps, models, test, test_images: tested } = app.part;
  byId("about").textContent =
    `${about}. Trained on ${app.page.dataset} (${split}) for ${steps} steps, seed ${models[0].seed}. ` +
    `Figures are of ${tested} test images (${test}).`;
  cloudNow = null;
  app.unitsChosen = false;
  byId("pen-words").textContent = penWords();
  if (app.source && app.source.kind === "test") app.source.pixels = testPixels(app.source.index);
  drawSweep(app.part);
  const shown = app.model ? app.model.recon_scale : Infinity;
  const nearest = modelNear(app.part, scaleAxis(app.part).place(shown));
  chooseModel(Number.isFinite(shown) ? nearest : firstModel(app.part));
}

/** The model that the page begins with: the first above the threshold, if there is one. */
function firstModel(part) {
  const threshold = thresholdOf(part);
  const above = part.models.findIndex((model) => threshold && model.recon_scale > 2 * threshold);
  return above < 0 ? part.models.length - 1 : above;
}

function chooseModel(index) {
  app.model = app.part.models[index];
  showSweep(app.part, app.model);
  showModel();
}

function listenToSweep() {
  const slider = byId("scale");
  const current = () => app.part.models.indexOf(app.model);
  const choose = (index) => {
    const within = Math.min(app.part.models.length - 1, Math.max(0, index));
    if (within !== current()) chooseModel(within);
    else markScale(app.part, app.model);
  };
  slider.addEventListener("input", () => choose(modelNear(app.part, slider.value / 1000)));
  slider.addEventListener("keydown", (event) => {
    const steps = { ...ARROWS, PageDown: [-1], PageUp: [1] };
    const ends = { Home: 0, End: app.part.models.length - 1 };
    if (event.key in steps) choose(current() + sum(steps[event.key]));
    else if (event.key in ends) choose(ends[event.key]);
    else return;
    event.preventDefault();
  });
  byId("charts").addEventListener("click", (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const inner = box.width - CHART.left - CHART.right;
    choose(modelNear(app.part, (event.clientX - box.left - CHART.left) / inner));
  });
}

/** Draw again what depends on the size or the colours of the page. */
function redraw() {
  if (app.part.models.length > 1 && isVae()) {
    drawCharts(app.part);
    drawBars(app.part);
    markScale(app.part, app.model);
    showBars(app.part, app.model);
    if (cloudNow) drawClouds(cloudNow);
  }
  drawPad();
}

function start() {
  const { page } = app;
  app.classes = [...new Set(page.labels)].sort((a, b) => a - b);
  app.pair = [page.strip[0], page.strip[1]];
  const select = byId("part");
  page.parts.forEach((part, index) => {
    const units = `${part.config.latent_size} latent unit${part.config.latent_size > 1 ? "s" : ""}`;
    select.append(element("option", { value: index }, `${part.name}: ${units}`));
  });
  byId("part-choice").hidden = page.parts.length < 2;
  select.addEventListener("change", () => choosePart(Number(select.value)));
  app.part = page.parts[0];
  prepareModel();
  preparePath();
  listenToSweep();
  app.source = { kind: "test", index: page.strip[0], pixels: testPixels(page.strip[0]) };
  choosePart(0);
  const left = page.left_out.map((line) => element("li", {}, line));
  if (left.length) {
    byId("left-out").append("Not on this page:", element("ul", {}, ...left));
  }
  byId("made").textContent =
    `Made by python -m experiments.explore. Encoder and decoder run in this page, with weights as ` +
    `${page.weights}; ${page.labels.length} test images are in it. It asks no network for anything.`;
  new ResizeObserver(redraw).observe(document.querySelector("main"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

start();
