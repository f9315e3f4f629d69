// One model: its latent space, an encoded image, a slider for each unit, a pen, samples and
// traversals. `app` is in explorer.js.

const FIRST_UNITS = 10; // more of them are folded away
const STEPS = 11; // images in a traversal
const SAMPLES = 24;
const NEAR = 12; // pixels between a click and the dot that it means

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
    const vae = app.part.config.model === "vae";
    model.ranges[unit] = vae ? [-reach, reach] : [low - margin, high + margin];
  }
  return model.ranges[unit];
}

/** From where to where a traversal goes. */
const traversalRange = (model, unit) =>
  app.part.config.model === "vae" ? [-3, 3] : rangeOf(model, unit);

/** Units by falling KL; those of an autoencoder by the falling variance of their codes. */
function orderOf(model) {
  return byFalling(app.part.config.model === "vae" ? model.kl_per_unit_nats : model.variance_per_unit);
}

function isDead(model, unit) {
  return app.part.config.model === "vae" && model.variance_per_unit[unit] <= app.page.active_variance;
}

/** What a unit carries, in words. */
function unitStatus(model, unit) {
  const variance = short(model.variance_per_unit[unit], 2);
  if (app.part.config.model === "ae") return `codes have a variance of ${variance}`;
  const kl = `KL ${fixed(model.kl_per_unit_nats[unit], 2)} nats`;
  return isDead(model, unit) ? `dead: its mean hardly varies with the image; ${kl}` : `active, ${kl}`;
}

// ---- the pad ----

let background = null; // the decoded pictures behind the dots, with what they depend on

function padScales() {
  const canvas = document.getElementById("pad");
  const ranges = app.axes.map((unit) => rangeOf(app.model, unit));
  const { clientWidth: width, clientHeight: height } = canvas;
  const [[x0, x1], [y0, y1]] = app.axes.length > 1 ? ranges : [ranges[0], [-1, 1]];
  return {
    x: (value) => (width * (value - x0)) / (x1 - x0),
    y: (value) => height * (1 - (value - y0) / (y1 - y0)),
    valueAt: (px, py) => [x0 + ((x1 - x0) * px) / width, y0 + ((y1 - y0) * (height - py)) / height],
    ranges: [[x0, x1], [y0, y1]],
  };
}

/** Where a code is on the pad. With a single unit there is nothing to go up by. */
function padPoint(scales, code) {
  return [scales.x(code[app.axes[0]]), app.axes.length > 1 ? scales.y(code[app.axes[1]]) : scales.y(0)];
}

function drawPad() {
  const canvas = document.getElementById("pad");
  const { context, width, height } = sharpContext(canvas);
  if (!width) return;
  const scales = padScales();
  if (document.getElementById("manifold").checked) drawManifold(context, width, height, scales);
  if (app.part.config.model === "vae" && app.axes.length > 1) {
    priorRings(context, scales.x, scales.y, scales.ranges[0][1]);
  }
  drawDots(context, scales);
  axisNames(context, width, height, [app.axes[0], app.axes.length > 1 ? app.axes[1] : null]);
  drawHere(context, width, height, scales);
}

/** A dot or a number for each test image, at its posterior mean. */
function drawDots(context, scales) {
  const numerals = document.getElementById("numerals").checked;
  context.font = "bold 12px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  const colours = [...Array(8).keys()].map((i) => colour(`class-${i}`));
  const card = colour("card");
  codesOf(app.model).forEach(({ mean }, index) => {
    const label = app.page.labels[index];
    const rank = app.classes.indexOf(label);
    const [x, y] = padPoint(scales, mean);
    context.globalAlpha = app.highlight === null || app.highlight === label ? 0.9 : 0.08;
    context.fillStyle = context.strokeStyle = colours[rank % 8];
    if (numerals) {
      context.fillText(String(label), x, y);
      return;
    }
    context.beginPath();
    context.arc(x, y, rank % 16 < 8 ? 4 : 3.2, 0, 7);
    if (rank % 16 < 8) {
      context.fill();
      context.strokeStyle = card;
      context.lineWidth = 0.8;
    } else {
      context.lineWidth = 2.2; // classes beyond the eighth are rings
    }
    context.stroke();
  });
  context.globalAlpha = 1;
}

/** The posterior of the encoded image, as an ellipse of one sigma, and the code that is decoded. */
function drawHere(context, width, height, scales) {
  const ink = colour("here");
  const { posterior } = app.source || {};
  if (posterior && posterior.sigma) {
    const [x, y] = padPoint(scales, posterior.mean);
    const [across, up] = app.axes.map((unit) => posterior.sigma[unit]);
    const wide = Math.abs(scales.x(across) - scales.x(0));
    const high = up === undefined ? wide : Math.abs(scales.y(up) - scales.y(0));
    context.strokeStyle = ink;
    context.setLineDash([4, 3]);
    context.lineWidth = 1.5;
    context.beginPath();
    context.ellipse(x, y, wide, high, 0, 0, 7);
    context.stroke();
    context.setLineDash([]);
  }
  const [x, y] = padPoint(scales, app.code);
  for (const [stroke, lineWidth] of [[colour("card"), 6], [ink, 2.5]]) {
    Object.assign(context, { strokeStyle: stroke, lineWidth });
    context.beginPath();
    context.arc(x, y, 9, 0, 7);
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 5 * dx, y + 5 * dy);
      context.lineTo(x + 14 * dx, y + 14 * dy);
    }
    context.stroke();
  }
}

const MANIFOLD = 15; // decoded pictures in a row

function drawManifold(context, width, height, scales) {
  const others = [...app.code].map((value, unit) => (app.axes.includes(unit) ? 0 : value));
  const key = [app.model.weights, app.axes, others].join();
  const [rows, columns] = app.page.shape;
  if (!background || background.key !== key) {
    const canvas = element("canvas", { width: MANIFOLD * columns, height: MANIFOLD * rows });
    const tile = imageCanvas(app.page.shape, "");
    const code = Float64Array.from(app.code);
    for (let row = 0; row < MANIFOLD; row++) {
      for (let column = 0; column < MANIFOLD; column++) {
        const place = [((column + 0.5) / MANIFOLD) * width, ((row + 0.5) / MANIFOLD) * height];
        scales.valueAt(...place).forEach((value, axis) => {
          if (axis < app.axes.length) code[app.axes[axis]] = value;
        });
        paint(tile, decode(netsOf(app.model), code), app.page.shape);
        canvas.getContext("2d").drawImage(tile, column * columns, row * rows);
      }
    }
    background = { key, canvas };
  }
  context.imageSmoothingEnabled = false;
  context.globalAlpha = 0.5;
  context.drawImage(background.canvas, 0, 0, width, height);
  context.globalAlpha = 1;
}

/** The test image whose dot is nearest to a place on the pad, and how many pixels away. */
function nearestImage(px, py) {
  const scales = padScales();
  let best = { index: -1, away: Infinity };
  codesOf(app.model).forEach(({ mean }, index) => {
    if (app.highlight !== null && app.page.labels[index] !== app.highlight) return;
    const [x, y] = padPoint(scales, mean);
    const away = Math.hypot(x - px, y - py);
    if (away < best.away) best = { index, away };
  });
  return best;
}

function moveCode(values) {
  const { ranges } = padScales();
  app.axes.forEach((unit, axis) => {
    const [low, high] = ranges[axis];
    app.code[unit] = Math.min(high, Math.max(low, values[axis]));
  });
  showCode();
}

/** A click on a dot encodes its image; a click elsewhere, or a drag, moves the code there. */
function listenToPad() {
  const pad = document.getElementById("pad");
  let began = null;
  const place = (event) => {
    const box = pad.getBoundingClientRect();
    return [event.clientX - box.left - pad.clientLeft, event.clientY - box.top - pad.clientTop];
  };
  pad.addEventListener("pointerdown", (event) => {
    began = { at: place(event), dragged: false };
    pad.setPointerCapture(event.pointerId);
  });
  pad.addEventListener("pointermove", (event) => {
    const at = place(event);
    if (!began) return;
    const moved = Math.hypot(at[0] - began.at[0], at[1] - began.at[1]);
    began.dragged = began.dragged || moved > 4;
    if (began.dragged) moveCode(padScales().valueAt(...at));
  });
  pad.addEventListener("pointerup", (event) => {
    const at = place(event);
    if (began && !began.dragged) {
      const { index, away } = nearestImage(...at);
      if (away <= NEAR) showTestImage(index);
      else moveCode(padScales().valueAt(...at));
    }
    began = null;
  });
  pad.addEventListener("pointercancel", () => (began = null));
  pad.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const step = steps[event.key];
    if (event.key === "Enter") {
      const scales = padScales();
      showTestImage(nearestImage(...padPoint(scales, app.code)).index);
    } else if (step) {
      const { ranges } = padScales();
      const share = event.shiftKey ? 20 : 100; // of the width of the pad
      moveCode(
        app.axes.map((unit, axis) => {
          const [low, high] = ranges[axis];
          return app.code[unit] + (step[axis] * (high - low)) / share;
        }),
      );
    } else return;
    event.preventDefault();
  });
}

function drawChoosers() {
  const order = orderOf(app.model);
  ["unit-x", "unit-y"].forEach((id, axis) => {
    const select = document.getElementById(id);
    select.parentElement.hidden = axis >= app.axes.length;
    select.replaceChildren(
      ...order.map((unit) => {
        const kl = app.part.config.model === "vae" ? `, KL ${fixed(app.model.kl_per_unit_nats[unit], 2)}` : "";
        const dead = isDead(app.model, unit) ? ", dead" : "";
        return element("option", { value: unit }, `unit ${unit}${kl}${dead}`);
      }),
    );
    if (axis < app.axes.length) select.value = app.axes[axis];
  });
}

function drawLegend() {
  const legend = document.getElementById("legend");
  if (app.classes.length > 20) return;
  legend.replaceChildren(
    ...app.classes.map((label, rank) => {
      const tint = `var(--class-${rank % 8})`;
      const mark = element("i", {
        style: `border-color: ${tint}; background: ${rank % 16 < 8 ? tint : "transparent"}`,
      });
      const button = element("button", { type: "button", "aria-pressed": "false" }, mark, className(label));
      button.addEventListener("click", () => {
        app.highlight = app.highlight === label ? null : label;
        [...legend.children].forEach((other, i) => {
          other.setAttribute("aria-pressed", String(app.classes[i] === app.highlight));
        });
        drawPad();
      });
      return button;
    }),
  );
}

// ---- units ----

function drawUnits() {
  const order = orderOf(app.model);
  const rows = order.map((unit) => {
    const [low, high] = rangeOf(app.model, unit);
    const id = `unit-${unit}`;
    const slider = element("input", {
      type: "range", id, min: low, max: high, step: "any", "aria-describedby": `${id}-status`,
    });
    slider.addEventListener("input", () => {
      app.code[unit] = Number(slider.value);
      showCode();
    });
    slider.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
      if (!step) return; // a hundredth of the range, which browsers do not agree upon
      const moved = app.code[unit] + (step * (high - low)) / 100;
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
  document.getElementById("units").replaceChildren(...rows.slice(0, FIRST_UNITS));
  fold("more-units", rows.slice(FIRST_UNITS));
  const vae = app.part.config.model === "vae";
  const dead = order.filter((unit) => isDead(app.model, unit)).length;
  document.getElementById("units-words").textContent = vae
    ? `By falling KL. ${order.length - dead} of ${order.length} are active. The bar below a slider is the ` +
      "posterior of the encoded image in this unit, one sigma to each side of its mean."
    : "By falling variance of their codes. An autoencoder gives a single code, without a width.";
}

/** Put rows into a part of the page that is folded away; without rows hide it. */
function fold(id, rows) {
  const details = document.getElementById(id);
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
  paint(canvas, decode(netsOf(app.model), app.code), app.page.shape);
  showUnits();
  drawPad();
  const where = app.axes.map((unit) => `unit ${unit}: ${fixed(app.code[unit], 2)}`).join(", ");
  document.getElementById("pad-where").textContent = `Code at ${where}`;
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
  paint(document.querySelector("#input canvas"), pixels, app.page.shape);
  paint(document.querySelector("#output canvas"), output, app.page.shape);
  if (kind === "drawn") {
    paint(document.querySelector("#pen-input canvas"), pixels, app.page.shape);
    paint(document.querySelector("#pen-output canvas"), output, app.page.shape);
  }
  const name = kind === "test" ? `Test image ${index}: ${className(app.page.labels[index])}.` : "Your drawing.";
  const error = sum([...pixels].map((p, i) => (p - output[i]) ** 2)) / pixels.length;
  const kl = posterior.kl ? `, KL ${fixed(sum([...posterior.kl]), 2)} nats` : "";
  document.getElementById("encoded-words").textContent = `${name} Error (MSE) ${fixed(error, 4)}${kl}.`;
  showPosterior();
  showCode();
}

// ---- the pen ----

const pen = { strokes: [], x: 140, y: 140, down: false, frame: 0 };

function drawPen() {
  const canvas = document.getElementById("pen");
  const context = canvas.getContext("2d");
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (!pen.strokes.length) {
    Object.assign(context, { fillStyle: "#999", font: "18px system-ui, sans-serif", textAlign: "center" });
    context.fillText("draw here", canvas.width / 2, canvas.height / 2);
  }
  Object.assign(context, { strokeStyle: "#fff", lineWidth: 22, lineCap: "round", lineJoin: "round" });
  for (const points of pen.strokes) {
    context.beginPath();
    context.moveTo(points[0].x, points[0].y);
    for (const p of points) context.lineTo(p.x, p.y);
    context.stroke();
  }
  if (document.activeElement === canvas && canvas.matches(":focus-visible")) {
    Object.assign(context, { strokeStyle: pen.down ? "#e69f00" : "#999", lineWidth: 3 });
    context.beginPath();
    context.arc(pen.x, pen.y, 9, 0, 7);
    context.stroke();
  }
}

/** Encode what is drawn, at most once per frame. */
function penMoved() {
  drawPen();
  cancelAnimationFrame(pen.frame);
  pen.frame = requestAnimationFrame(() => {
    const ink = drawnDigit(pen.strokes, app.page.shape);
    if (!ink) return;
    const pixels = app.part.pictures === "drawn" ? ink.map((p) => (p > 0.5 ? 1 : 0)) : ink;
    app.source = { kind: "drawn", pixels };
    showSource();
  });
}

function listenToPen() {
  const canvas = document.getElementById("pen");
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) * canvas.width) / box.width,
      y: ((event.clientY - box.top) * canvas.height) / box.height,
    };
  };
  let drawing = false;
  canvas.addEventListener("pointerdown", (event) => {
    drawing = true;
    canvas.setPointerCapture(event.pointerId);
    pen.strokes.push([place(event)]);
    penMoved();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drawing) return;
    for (const part of event.getCoalescedEvents ? event.getCoalescedEvents() : [event]) {
      pen.strokes.at(-1).push(place(part));
    }
    penMoved();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (drawing = false));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === " ") {
      pen.down = !pen.down;
      if (pen.down) pen.strokes.push([{ x: pen.x, y: pen.y }]);
    } else if (step) {
      pen.x = Math.min(270, Math.max(10, pen.x + 10 * step[0]));
      pen.y = Math.min(270, Math.max(10, pen.y + 10 * step[1]));
      if (pen.down) pen.strokes.at(-1).push({ x: pen.x, y: pen.y });
    } else return;
    event.preventDefault();
    penMoved();
  });
  for (const change of ["focus", "blur"]) canvas.addEventListener(change, drawPen);
  document.getElementById("pen-clear").addEventListener("click", () => {
    Object.assign(pen, { strokes: [], down: false });
    drawPen();
    const blank = new Float64Array(app.page.shape.reduce((a, b) => a * b));
    for (const id of ["pen-input", "pen-output"]) {
      paint(document.querySelector(`#${id} canvas`), blank, app.page.shape);
    }
  });
}

function penWords() {
  const [height, width] = app.page.shape;
  const { box, byMass } = penRules(height);
  const centred = byMass
    ? "and moved until the centre of its ink is in the middle"
    : "with its box in the middle";
  const like = byMass ? "as the digits of MNIST were" : "as these digits were";
  const threshold = app.part.pictures === "drawn" ? " Then every pixel above one half becomes white, the others black." : "";
  return (
    `Your strokes are fitted into ${Math.round(box)} × ${Math.round(box)} of the ${height} × ${width} pixels ` +
    `without changing their proportions, ${centred}, ${like}. A pixel is the share of it that ink ` +
    `covers.${threshold}`
  );
}

// ---- samples and traversals ----

function showSamples() {
  const vae = app.part.config.model === "vae";
  const normal = normalGenerator(app.sampleSeed);
  const nets = netsOf(app.model);
  document.getElementById("samples").replaceChildren(
    ...Array.from({ length: SAMPLES }, (_, index) => {
      const code = Float64Array.from({ length: app.part.config.latent_size }, normal);
      const canvas = imageCanvas(app.page.shape, "");
      paint(canvas, decode(nets, code), app.page.shape);
      const button = element("button", { type: "button", "aria-label": `sample ${index + 1}: move the code there` }, canvas);
      button.addEventListener("click", () => {
        app.code = code.slice();
        showCode();
      });
      return button;
    }),
  );
  document.getElementById("samples-title").textContent = vae ? "Samples from the prior" : "Decoded Gaussian codes";
  document.getElementById("samples-words").textContent =
    (vae
      ? "Codes are drawn from N(0, I) and decoded. "
      : "An autoencoder has no prior. These are its outputs for codes from N(0, I), which need not be where its codes lie. ") +
    `Click one to move the code there. Seed ${app.sampleSeed}.`;
}

function traversalRow(unit) {
  const name = element("span", {}, `unit ${unit}`);
  name.append(element("small", {}, isDead(app.model, unit) ? "dead" : shortStatus(unit)));
  const canvases = Array.from({ length: STEPS }, () => imageCanvas(app.page.shape, ""));
  for (const canvas of canvases) canvas.setAttribute("aria-hidden", "true");
  const [low, high] = traversalRange(app.model, unit);
  const label = `unit ${unit} from ${short(low)} to ${short(high)}`;
  return element("div", { class: "traversal", role: "img", "data-unit": unit, "aria-label": label }, name, ...canvases);
}

function shortStatus(unit) {
  return app.part.config.model === "vae" ? `KL ${fixed(app.model.kl_per_unit_nats[unit], 2)}` : "";
}

function drawTraversals() {
  const order = orderOf(app.model);
  const vae = app.part.config.model === "vae";
  const values = Array.from({ length: STEPS }, (_, i) => (vae ? short(-3 + (6 * i) / (STEPS - 1)) : ""));
  const ticks = element("div", { class: "traversal ticks" }, element("span"), ...values.map((v) => element("span", {}, v)));
  document.getElementById("traversals").replaceChildren(ticks, ...order.slice(0, FIRST_UNITS).map(traversalRow));
  fold("more-traversals", order.slice(FIRST_UNITS).map(traversalRow));
  document.getElementById("traversals-words").textContent = vae
    ? "Each row moves one unit from -3 to 3, three standard deviations of the prior to each side. The other units stay at the present code."
    : "Each row moves one unit over the range of its codes. The other units stay at the present code.";
}

function showTraversals() {
  const nets = netsOf(app.model);
  const open = document.getElementById("more-traversals").open;
  const rows = document.querySelectorAll(
    `#traversals .traversal[data-unit]${open ? ", #more-traversals .traversal" : ""}`,
  );
  const code = Float64Array.from(app.code);
  for (const row of rows) {
    const unit = Number(row.dataset.unit);
    const [low, high] = traversalRange(app.model, unit);
    row.querySelectorAll("canvas").forEach((canvas, i) => {
      code[unit] = low + ((high - low) * i) / (STEPS - 1);
      paint(canvas, decode(nets, code), app.page.shape);
    });
    code[unit] = app.code[unit];
  }
}

// ---- all of it ----

/** Everything that is about one model. */
function showModel() {
  const { part, model } = app;
  const several = part.models.length > 1;
  document.getElementById("one-title").textContent = several
    ? `The model at recon_scale ${short(model.recon_scale, 4)}`
    : part.config.model === "vae" ? "The VAE" : "The autoencoder";
  for (const id of ["one-caption", "one-terms"]) {
    document.getElementById(id).hidden = several; // they stand below the slider
  }
  document.getElementById("one-terms").textContent = termsOf(part, model);
  document.getElementById("one-caption").replaceChildren(...captionOf(part, model));
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
  const names = ["across", "up"].slice(0, app.axes.length);
  const axes = names.map((name, axis) => `unit ${app.axes[axis]} ${name}`).join(", ");
  document.getElementById("pad").setAttribute("aria-label", `Latent space: ${axes}`);
}

function listenToModel() {
  listenToPad();
  listenToPen();
  ["unit-x", "unit-y"].forEach((id, axis) => {
    document.getElementById(id).addEventListener("change", (event) => {
      const unit = Number(event.target.value);
      if (app.axes[1 - axis] === unit) app.axes[1 - axis] = app.axes[axis]; // they change places
      app.axes[axis] = unit;
      app.unitsChosen = true;
      drawChoosers();
      labelPad();
      showCode();
    });
  });
  for (const id of ["numerals", "manifold"]) document.getElementById(id).addEventListener("change", drawPad);
  const count = app.page.labels.length;
  const step = (by) => {
    const { kind, index } = app.source;
    showTestImage(kind === "test" ? (index + by + count) % count : 0);
  };
  document.getElementById("previous").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  document.getElementById("zero").addEventListener("click", () => {
    app.code = new Float64Array(app.part.config.latent_size);
    showCode();
  });
  document.getElementById("samples-new").addEventListener("click", () => {
    app.sampleSeed += 1;
    showSamples();
  });
  document.getElementById("more-traversals").addEventListener("toggle", showTraversals);
}

/** What of this part of the page is the same for all models. */
function prepareModel() {
  const { shape } = app.page;
  const labels = {
    decoded: "image decoded from the code",
    input: "encoded image",
    output: "its reconstruction",
    "pen-input": "your drawing as the model sees it",
    "pen-output": "reconstruction of your drawing",
  };
  for (const [id, label] of Object.entries(labels)) {
    document.getElementById(id).replaceChildren(imageCanvas(shape, label));
  }
  const grey = shape[2] === 1;
  document.getElementById("pen-card").hidden = !grey;
  document.querySelector(".left").classList.toggle("no-pen", !grey);
  document.getElementById("pad-help").textContent =
    "Each dot is a test image at its posterior mean in the two chosen units. Click a dot to encode its " +
    "image; drag anywhere else to move the code. Keys: arrows move the code, Enter encodes the nearest image.";
  drawLegend();
  drawPen();
  listenToModel();
}
