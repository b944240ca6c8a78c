/* Text and tokens. Everything that comes from a model goes in as a text node, never as markup. */
const view = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const clamp = (number, least, most) => Math.min(most, Math.max(least, number));
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const UNSEEN = /[\u0000-\u001f\u007f-\u00a0\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const NAMED = { "\n": "↵", "\t": "⇥" };
const named = (c) => NAMED[c] ?? `‹${c.codePointAt(0).toString(16).padStart(4, "0")}›`;
const visible = (text) => (text === "" ? "∅" : text.replace(UNSEEN, named));
const running = (text) => visible(text).replaceAll("↵", "↵\n");
const alone = (text) => visible(text).replace(/^ | $/g, "␣");

const percent = (share) =>
  share > 0 && share < 0.0001 ? "<0.01%" : `${(100 * share).toFixed(share < 0.01 ? 2 : 1)}%`;
const weightText = (weight) => (weight === 0 ? "0" : weight < 0.0001 ? weight.toExponential(1) : weight.toFixed(4));

function make(name, className, ...content) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...content);
  return node;
}
const bold = (text) => make("b", "", alone(text));

const STEPS = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };

/* A run of tokens in a box: the pointer previews one, a click or the arrow keys choose one. */
function tokenRun(box, tokens, { hover, leave, pick }) {
  const spans = tokens.map((text, index) => {
    const span = make("span", "", running(text));
    span.setAttribute("role", "option");
    span.dataset.index = index;
    span.tabIndex = -1;
    return span;
  });
  const indexOf = (event) => (event.target.dataset.index === undefined ? null : Number(event.target.dataset.index));
  box.replaceChildren(...spans);
  box.onpointerover = (event) => indexOf(event) !== null && hover(indexOf(event));
  box.onpointerleave = leave;
  box.onclick = (event) => indexOf(event) !== null && pick(indexOf(event));
  box.onkeydown = (event) => {
    const here = indexOf(event);
    const step = STEPS[event.key];
    if (here === null || (!step && event.key !== "Home" && event.key !== "End")) return;
    event.preventDefault();
    const goal = step ? clamp(here + step[0] + step[1], 0, spans.length - 1) : event.key === "Home" ? 0 : spans.length - 1;
    pick(goal);
    spans[goal].focus();
  };
  let marked = 0;
  const setMark = (index, is) => {
    spans[index].classList.toggle("on", is);
    spans[index].tabIndex = is ? 0 : -1;
    spans[index].setAttribute("aria-selected", String(is));
  };
  return {
    spans,
    paint: (strengths) => spans.forEach((span, index) => span.style.setProperty("--w", strengths[index].toFixed(3))),
    mark(index) {
      setMark(marked, false);
      setMark((marked = index), true);
      if (box.scrollHeight > box.clientHeight && !box.matches(":hover")) {
        box.scrollTop = spans[index].offsetTop - box.clientHeight / 2;
      }
    },
  };
}
