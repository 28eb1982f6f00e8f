// @ts-check
/** Making elements. Text goes in as text nodes only, never as markup: what people write can do nothing. */

/** @typedef {Node | string | null | undefined | false} Child */

/**
 * Make an element. Properties beginning with "on" are listeners, `class` and names with a hyphen are attributes.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, any> | null} [properties]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class" || name === "role" || name.includes("-")) setAttribute(made, name, value);
    else Reflect.set(made, name, value);
  }
  made.append(...children.filter(isChild));
  return made;
}

/**
 * Draw one of the icons of index.html.
 * @param {string} name
 */
export function icon(name) {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(namespace, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/**
 * Make the children of an element these, in this order, moving as few as possible: focus and scrolling stay.
 * @param {Element} parent
 * @param {Element[]} children
 */
export function arrange(parent, children) {
  const focused = document.activeElement;
  const wanted = new Set(children);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  let at = parent.firstElementChild;
  for (const child of children) {
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
  // Moving an element takes the focus from it.
  if (focused instanceof HTMLElement && focused !== document.activeElement && parent.contains(focused)) {
    focused.focus({ preventScroll: true });
  }
}

/**
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`index.html has no ${type.name} #${id}`);
  return found;
}

/**
 * A round picture with the first letters of a name, in the name's own colour.
 * @param {string} name
 */
export function avatar(name) {
  const made = element("span", { class: "avatar", "aria-hidden": "true" }, initials(name));
  made.style.setProperty("--hue", String(hue(name)));
  return made;
}

/** @param {string} name */
function hue(name) {
  let hash = 0;
  for (const letter of name) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) % 65521;
  return (hash * 137) % 360; // steps of the golden angle: names that differ little differ in colour
}

/** @param {string} name */
function initials(name) {
  const words = name.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const letters = words.length > 1 ? words[0][0] + words[1][0] : (words[0] ?? "?").slice(0, 2);
  return letters.toUpperCase();
}

/**
 * @param {Child} child
 * @returns {child is Node | string}
 */
function isChild(child) {
  return child !== null && child !== undefined && child !== false;
}

/**
 * @param {Element} made
 * @param {string} name
 * @param {unknown} value
 */
function setAttribute(made, name, value) {
  if (value !== null && value !== undefined && value !== false) made.setAttribute(name, String(value));
}
