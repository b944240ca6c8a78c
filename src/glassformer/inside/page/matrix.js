/* The large picture: cells, names or numbers at its edges, and the marked row and column. */
const NAMED_UP_TO = 48; // tokens; longer texts get numbers at the edges
let frame = { edge: 0, cell: 1 };

function drawLarge() {
  const canvas = $("matrix");
  const size = canvas.clientWidth;
  if (!size || !pattern) return;
  const dots = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(size * dots)) canvas.width = canvas.height = Math.round(size * dots);
  const { queries, keys } = sides(at.group);
  const longest = Math.max(queries.length, keys.length);
  const edge = longest <= NAMED_UP_TO ? clamp(size * 0.19, 56, 104) : 36;
  frame = { edge, cell: (size - edge - 2) / longest };
  const pen = canvas.getContext("2d");
  pen.setTransform(dots, 0, 0, dots, 0, 0);
  pen.clearRect(0, 0, size, size);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(large, edge, edge, keys.length * frame.cell, queries.length * frame.cell);
  drawMarks(pen, queries.length, keys.length);
  if (longest <= NAMED_UP_TO) drawNames(pen, queries, keys);
  else drawNumbers(pen, queries.length, keys.length);
}

function drawMarks(pen, rows, columnCount) {
  const { edge, cell } = frame;
  const [x, y] = [edge + shown.key * cell, edge + shown.query * cell];
  pen.lineWidth = 1;
  pen.strokeStyle = css("--line");
  pen.strokeRect(edge - 0.5, edge - 0.5, columnCount * cell + 1, rows * cell + 1);
  pen.strokeStyle = css("--mark");
  pen.lineWidth = cell < 3 ? 0.5 : 1;
  pen.strokeRect(edge, y, columnCount * cell, cell);
  pen.strokeRect(x, edge, cell, rows * cell);
  const more = Math.max(0, 5 - cell) / 2;
  pen.lineWidth = 2;
  pen.strokeRect(x - more, y - more, cell + 2 * more, cell + 2 * more);
}

function drawNames(pen, queries, keys) {
  const { edge, cell } = frame;
  const font = clamp(cell * 0.8, 7, 12.5);
  const write = (text, x, y, isShown, turn) => {
    pen.save();
    pen.translate(x, y);
    pen.rotate(turn);
    pen.font = `${isShown ? "700 " : ""}${font}px ${css("--mono")}`;
    pen.fillStyle = css(isShown ? "--mark" : "--quiet");
    pen.textAlign = turn ? "left" : "right";
    pen.textBaseline = "middle";
    pen.fillText(shortened(pen, alone(text), edge - 8), 0, 0);
    pen.restore();
  };
  queries.forEach((text, row) => write(text, edge - 6, edge + (row + 0.5) * cell, row === shown.query, 0));
  keys.forEach((text, column) => write(text, edge + (column + 0.5) * cell, edge - 6, column === shown.key, -Math.PI / 2));
}

function shortened(pen, text, room) {
  let letters = [...text];
  if (pen.measureText(text).width <= room) return text;
  while (letters.length > 1 && pen.measureText(`${letters.join("")}…`).width > room) letters = letters.slice(0, -1);
  return `${letters.join("")}…`;
}

function drawNumbers(pen, rows, columnCount) {
  const { edge, cell } = frame;
  const step = [16, 32, 64, 128].find((every) => every * cell >= 44) ?? 256;
  pen.font = `11px ${css("--mono")}`;
  pen.fillStyle = css("--quiet");
  pen.textBaseline = "middle";
  for (let index = 0; index < Math.max(rows, columnCount); index += step) {
    const middle = edge + (index + 0.5) * cell;
    pen.textAlign = "right";
    if (index < rows) pen.fillText(String(index), edge - 6, middle);
    pen.textAlign = "center";
    if (index < columnCount) pen.fillText(String(index), middle, edge - 11);
  }
}

function cellUnder(event) {
  const box = $("matrix").getBoundingClientRect();
  const { queries, keys } = sides(at.group);
  const key = Math.floor((event.clientX - box.left - frame.edge) / frame.cell);
  const query = Math.floor((event.clientY - box.top - frame.edge) / frame.cell);
  return key >= 0 && query >= 0 && key < keys.length && query < queries.length ? [query, key] : null;
}

function listenLarge() {
  const canvas = $("matrix");
  canvas.onpointermove = (event) => showCell(...(cellUnder(event) ?? [at.query, at.key]));
  canvas.onpointerleave = () => showCell(at.query, at.key);
  canvas.onclick = (event) => cellUnder(event) && pickCell(...cellUnder(event));
  canvas.onkeydown = (event) => {
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    const { queries, keys } = sides(at.group);
    pickCell(clamp(at.query + step[0], 0, queries.length - 1), clamp(at.key + step[1], 0, keys.length - 1));
  };
  new ResizeObserver(drawLarge).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readRamp();
    paintHeads();
    openHead(at.layer, at.head);
  });
}
