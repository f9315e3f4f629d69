// The pad: two latent units, the test images as dots, and the code that is decoded. `app` is in
// explorer.js.

const NEAR = 12; // pixels between a click and the dot that it means

let background = null; // the decoded pictures behind the dots, with what they depend on

function padScales() {
  const canvas = byId("pad");
  const ranges = app.axes.map((unit) => rangeOf(app.model, unit));
  const { clientWidth: width, clientHeight: height } = canvas;
  const [[x0, x1], [y0, y1]] = app.axes.length > 1 ? ranges : [ranges[0], [-1, 1]];
  return {
    x: (value) => (width * (value - x0)) / (x1 - x0),
    y: (value) => height * (1 - (value - y0) / (y1 - y0)),
    valueAt: (px, py) => [x0 + ((x1 - x0) * px) / width, y0 + ((y1 - y0) * (height - py)) / height],
    ranges: [
      [x0, x1],
      [y0, y1],
    ],
  };
}

/** Where a code is on the pad. With a single unit there is nothing to go up by. */
function padPoint(scales, code) {
  return [
    scales.x(code[app.axes[0]]),
    app.axes.length > 1 ? scales.y(code[app.axes[1]]) : scales.y(0),
  ];
}

function drawPad() {
  const canvas = byId("pad");
  const { context, width, height } = sharpContext(canvas);
  if (!width) return;
  const scales = padScales();
  const pictures = byId("manifold").checked;
  if (pictures) drawManifold(context, width, height, scales);
  else if (isVae() && app.axes.length > 1) {
    priorRings(context, scales.x, scales.y, scales.ranges[0][1]);
  }
  drawDots(context, scales);
  axisNames(context, width, height, [app.axes[0], app.axes.length > 1 ? app.axes[1] : null]);
  drawHere(context, width, height, scales);
}

/** A dot or a number for each test image, at its posterior mean. */
function drawDots(context, scales) {
  const [numerals, manifold] = ["numerals", "manifold"].map((id) => byId(id).checked);
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
      haloText(context, String(label), x, y);
      return;
    }
    context.beginPath();
    context.arc(x, y, rank % 16 < 8 ? 4 : 3.2, 0, 7);
    if (rank % 16 < 8) {
      context.fill();
      context.strokeStyle = card;
      context.lineWidth = manifold ? 1.6 : 0.8;
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
  for (const [stroke, lineWidth] of [
    [colour("card"), 6],
    [ink, 2.5],
  ]) {
    Object.assign(context, { strokeStyle: stroke, lineWidth });
    context.beginPath();
    context.arc(x, y, 9, 0, 7);
    for (const [dx, dy] of Object.values(ARROWS)) {
      context.moveTo(x + 5 * dx, y + 5 * dy);
      context.lineTo(x + 14 * dx, y + 14 * dy);
    }
    context.stroke();
  }
}

const MANIFOLD = 12; // decoded pictures in a row

function drawManifold(context, width, height, scales) {
  const others = [...app.code].map((value, unit) => (app.axes.includes(unit) ? 0 : value));
  const key = [app.model.weights, app.axes, others].join();
  const [rows, columns] = app.page.shape;
  if (!background || background.key !== key) {
    const canvas = element("canvas", { width: MANIFOLD * columns, height: MANIFOLD * rows });
    const tile = imageCanvas();
    const code = Float64Array.from(app.code);
    for (let row = 0; row < MANIFOLD; row++) {
      for (let column = 0; column < MANIFOLD; column++) {
        const place = [((column + 0.5) / MANIFOLD) * width, ((row + 0.5) / MANIFOLD) * height];
        scales.valueAt(...place).forEach((value, axis) => {
          if (axis < app.axes.length) code[app.axes[axis]] = value;
        });
        paint(tile, decode(netsOf(app.model), code));
        canvas.getContext("2d").drawImage(tile, column * columns, row * rows);
      }
    }
    background = { key, canvas };
  }
  context.imageSmoothingEnabled = false;
  context.globalAlpha = 0.85;
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
  const pad = byId("pad");
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
    const step = ARROWS[event.key];
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
    const select = byId(id);
    select.parentElement.hidden = axis >= app.axes.length;
    select.replaceChildren(
      ...order.map((unit) => {
        const kl = isVae() ? `, ${shortStatus(unit)}` : "";
        const dead = isDead(app.model, unit) ? ", dead" : "";
        return element("option", { value: unit }, `unit ${unit}${kl}${dead}`);
      }),
    );
    if (axis < app.axes.length) select.value = app.axes[axis];
  });
}

function drawLegend() {
  const legend = byId("legend");
  if (app.classes.length > 20) return;
  legend.replaceChildren(
    ...app.classes.map((label, rank) => {
      const tint = `var(--class-${rank % 8})`;
      const mark = element("i", {
        style: `border-color: ${tint}; background: ${rank % 16 < 8 ? tint : "transparent"}`,
      });
      const button = element(
        "button",
        { type: "button", "aria-pressed": "false" },
        mark,
        className(label),
      );
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
