/* All heads as small pictures, one of them large, and the tokens coloured by its row and column. */
const at = { group: 0, layer: 0, head: 0, query: 0, key: 0 }; // what is chosen
const shown = { query: 0, key: 0 }; // what is marked now: the chosen cell, or the one under the pointer
const large = make("canvas", "");
let pattern = null;
let buttons = [];
let queryRun = null;
let keyRun = null;

function drawGroups() {
  const tabs = view.patterns.map((group, index) => {
    const tab = make("button", "", group.title);
    tab.type = "button";
    tab.setAttribute("role", "tab");
    tab.onclick = () => openGroup(index);
    tab.onkeydown = (event) => {
      const step = STEPS[event.key]?.[1];
      if (!step) return;
      const goal = (index + step + view.patterns.length) % view.patterns.length;
      openGroup(goal);
      tabs[goal].focus();
    };
    return tab;
  });
  $("groups").replaceChildren(...tabs);
  $("groups").hidden = tabs.length < 2;
  $("attention").hidden = false;
}

function openGroup(index) {
  [...$("groups").children].forEach((tab, place) => {
    tab.setAttribute("aria-selected", String(place === index));
    tab.tabIndex = place === index ? 0 : -1;
  });
  const { queries, keys } = sides(index);
  Object.assign(at, { group: index, query: queries.length - 1, key: isCross(index) ? 0 : keys.length - 1 });
  pattern = null;
  queryRun = tokenRun($("queries"), queries, tokenMoves(index, (query) => [query, isCross(index) ? at.key : query]));
  keyRun = tokenRun($("keys"), keys, tokenMoves(index, (key) => [isCross(index) ? at.query : key, key]));
  $("looks-title").textContent = "Token by token";
  $("looks-explain").textContent = isCross(index)
    ? "Hover or choose a token on either side. The source is coloured by how much the marked token of the text looks at it; the text, by how much it looks at the marked token of the source."
    : "Hover or choose a token on either side. On the left the text is coloured by how much this token looks at it; on the right, by how much it looks at this token.";
  setShades(keys.length);
  drawHeads();
  openHead(0, 0).then(() => pattern && pickCell(at.query, strongest(at.query))); // no pattern: another group was opened meanwhile
}

function strongest(query) {
  const { keys } = sides(at.group);
  const row = pattern.codes.subarray(query * keys.length, (query + 1) * keys.length);
  return row.indexOf(Math.max(...row));
}

const tokenMoves = (index, cellOf) => ({
  hover: (token) => showCell(...cellOf(token)),
  leave: () => showCell(at.query, at.key),
  pick: (token) => pickCell(...cellOf(token)),
});

/* ---- small pictures ---- */
function drawHeads() {
  const layers = view.patterns[at.group].layers;
  const { queries, keys } = sides(at.group);
  const widest = Math.max(...layers.map((layer) => layer.matrices.length));
  const [height, width] = layers[0].thumbnail;
  $("colours").textContent = `Colour follows the weight to the power of ${exponent.toFixed(2)}, so that small weights stay visible.`;
  $("middle").textContent = `(the middle: ${(0.5 ** (1 / exponent)).toFixed(2)})`;
  $("grid-size").textContent = `${layers.length} layers, ${widest} heads each`;
  $("grid-explain").textContent =
    "Rows are layers, columns are heads; click one, or move with the arrow keys, to enlarge it." +
    (height < queries.length || width < keys.length ? ` A small picture shows the largest weight of each block of its ${queries.length} × ${keys.length} cells.` : "");
  buttons = layers.map((layer, row) => layer.matrices.map((_, head) => headButton(row, head)));
  const grid = $("heads");
  grid.style.gridTemplateColumns = `auto repeat(${widest}, minmax(24px, 136px))`;
  grid.replaceChildren(make("div", ""), ...Array.from({ length: widest }, (_, head) => make("div", "label top", String(head))));
  buttons.forEach((line, row) => {
    const missing = Array.from({ length: widest - line.length }, () => make("div", ""));
    grid.append(make("div", "label", layerNumber(layers[row])), ...line, ...missing);
  });
  return paintHeads();
}

const layerNumber = (layer) => layer.address.match(/blocks\.(\d+)/)?.[1] ?? "";

function headButton(row, head) {
  const button = make("button", "", make("canvas", ""));
  button.type = "button";
  button.setAttribute("aria-label", `Layer ${layerNumber(view.patterns[at.group].layers[row])}, head ${head}`);
  button.onclick = () => {
    openHead(row, head);
    if (matchMedia("(max-width: 820px)").matches) $("large").scrollIntoView({ block: "nearest" });
  };
  button.onkeydown = (event) => {
    const step = STEPS[event.key];
    if (!step) return;
    event.preventDefault();
    const goal = buttons[clamp(row + step[0], 0, buttons.length - 1)];
    const next = goal[clamp(head + step[1], 0, goal.length - 1)];
    openHead(buttons.indexOf(goal), goal.indexOf(next));
    next.focus();
  };
  return button;
}

function paintHeads() {
  const drawn = buttons;
  const paintLayer = async (layer, row) => {
    const [height, width] = layer.thumbnail;
    const codes = await inflate(layer.thumbnails);
    const part = (head) => codes.subarray(head * height * width, (head + 1) * height * width);
    drawn[row].forEach((button, head) => picture(button.firstChild, part(head), width, height));
  };
  return Promise.all(view.patterns[at.group].layers.map(paintLayer));
}

/* ---- one head ---- */
async function openHead(layer, head) {
  Object.assign(at, { layer, head });
  buttons.flat().forEach((button) => {
    const is = button === buttons[layer][head];
    button.setAttribute("aria-pressed", String(is));
    button.tabIndex = is ? 0 : -1;
  });
  describeHead();
  const wanted = `${at.group}/${layer}/${head}`;
  const found = await patternOf(at.group, layer, head);
  if (wanted !== `${at.group}/${at.layer}/${at.head}`) return; // another head was opened meanwhile
  pattern = found;
  const { queries, keys } = sides(at.group);
  picture(large, pattern.codes, keys.length, queries.length);
  showCell(at.query, at.key);
  $("matrix").dataset.shows = wanted;
}

function describeHead() {
  const group = view.patterns[at.group];
  const layer = group.layers[at.layer];
  const habits = layer.habits[at.head];
  $("head-name").replaceChildren(`Layer ${layerNumber(layer)}, head ${at.head} `, make("span", "quiet", group.title.toLowerCase()));
  $("head-explain").textContent =
    "Each row shows where one token looks; the marked cell is read out below." +
    (habits ? ` On average this head gives ${percent(habits[0])} to the first token, ${percent(habits[1])} to the previous one and ${percent(habits[2])} to the token itself.` : "");
  $("python").textContent = pythonFor(layer.address, at.head);
}

function pickCell(query, key) {
  Object.assign(at, { query, key });
  showCell(query, key);
}

function showCell(query, key) {
  if (!pattern) return;
  Object.assign(shown, { query, key });
  const { queries, keys } = sides(at.group);
  const strength = (row, column) => shades[pattern.codes[row * keys.length + column]];
  keyRun.paint(keys.map((_, column) => strength(query, column)));
  queryRun.paint(queries.map((_, row) => strength(row, key)));
  keyRun.mark(key);
  queryRun.mark(query);
  $("keys-title").replaceChildren(`Where token ${query} `, bold(queries[query]), " looks");
  $("queries-title").replaceChildren(`Who looks at token ${key} `, bold(keys[key]));
  const cell = known(pattern, keys.length, query, key);
  $("cell").replaceChildren(
    `Token ${query} `, bold(queries[query]), ` gives token ${key} `, bold(keys[key]), " the weight ", make("b", "", weightText(cell.weight)),
    cell.isStored ? ` (± ${weightText(cell.error)}).` : `, the mean of this row's small weights (it is at most ${weightText(cell.most)}).`,
  );
  Object.assign($("cell").dataset, { query, key, weight: cell.weight });
  drawLarge();
}
