// Pixels on canvases, and strokes of a pen as pixels.

/** An HTML element with attributes, and with children or text in it. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** A canvas for one image of the data set; CSS scales it up. */
function imageCanvas(shape, label) {
  const [height, width] = shape;
  return element("canvas", { width, height, class: "picture", role: "img", "aria-label": label });
}

/** Show pixels in [0, 1], [height, width, channels], on a canvas of that size. */
function paint(canvas, pixels, shape) {
  const [height, width, channels] = shape;
  // Small pictures that pixels are put on one by one: a graphics processor would only slow it down.
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) {
      const value = pixels[channels === 1 ? i : channels * i + c];
      image.data[4 * i + c] = Math.round(255 * Math.min(1, Math.max(0, value)));
    }
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** The context of a canvas that is drawn at the resolution of the screen, in units of CSS pixels. */
function sharpContext(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/** A colour of the style sheet, by the name of its property. */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// ---- drawn digits ----

/** How the digits of a data set were made: the box that the ink is fitted into, the width of a
 * stroke, both in pixels, and whether the centre of the ink or of its box is put in the middle. */
function penRules(height) {
  return height <= 8
    ? { box: height, stroke: 1.25, byMass: false }
    : { box: (20 * height) / 28, stroke: (2.6 * height) / 28, byMass: true };
}

function bounds(strokes) {
  const xs = strokes.flat().map((p) => p.x);
  const ys = strokes.flat().map((p) => p.y);
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}

const SUPERSAMPLING = 8;

/** Strokes in pixel units as ink in [0, 1]: each pixel is the share of it that is covered. */
function rasterize(strokes, shape, stroke) {
  const [height, width] = shape;
  const fine = element("canvas", { width: width * SUPERSAMPLING, height: height * SUPERSAMPLING });
  const context = fine.getContext("2d", { willReadFrequently: true });
  context.scale(SUPERSAMPLING, SUPERSAMPLING);
  Object.assign(context, { lineWidth: stroke, lineCap: "round", lineJoin: "round" });
  for (const points of strokes) {
    context.beginPath();
    context.moveTo(points[0].x, points[0].y);
    for (const p of points) context.lineTo(p.x, p.y);
    context.stroke();
  }
  const { data } = context.getImageData(0, 0, fine.width, fine.height);
  const ink = new Float64Array(height * width);
  for (let y = 0; y < fine.height; y++) {
    for (let x = 0; x < fine.width; x++) {
      const pixel = Math.floor(y / SUPERSAMPLING) * width + Math.floor(x / SUPERSAMPLING);
      ink[pixel] += data[4 * (y * fine.width + x) + 3] / 255 / SUPERSAMPLING ** 2;
    }
  }
  return ink;
}

/** The centre of the ink, in pixel units. */
function centreOfMass(ink, width) {
  let [mass, x, y] = [0, 0, 0];
  ink.forEach((value, i) => {
    mass += value;
    x += value * ((i % width) + 0.5);
    y += value * (Math.floor(i / width) + 0.5);
  });
  return { x: x / mass, y: y / mass };
}

/**
 * Strokes of a pen as an image like those of the data set, in [0, 1]: fitted into the box without
 * changing the proportions, and centred. null if there is no stroke.
 */
function drawnDigit(strokes, shape) {
  if (!strokes.length) return null;
  const [height, width] = shape;
  const { box, stroke, byMass } = penRules(height);
  const [left, top, right, bottom] = bounds(strokes);
  const scale = (box - stroke) / Math.max(right - left, bottom - top, 1e-9);
  const spread = Math.max(right - left, bottom - top) > 0 ? scale : 1; // a dot is not blown up
  const place = (dx, dy) =>
    strokes.map((points) =>
      points.map((p) => ({
        x: width / 2 + dx + spread * (p.x - (left + right) / 2),
        y: height / 2 + dy + spread * (p.y - (top + bottom) / 2),
      })),
    );
  const ink = rasterize(place(0, 0), shape, stroke);
  if (!byMass) return ink;
  const centre = centreOfMass(ink, width);
  return rasterize(place(width / 2 - centre.x, height / 2 - centre.y), shape, stroke);
}
