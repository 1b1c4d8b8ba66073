"""Checks of a page's accessibility that run inside the browser, on what it really draws.

They cover WCAG 2.2 AA where a machine can tell: contrast of text (1.4.3), names (4.1.2), labels, one main landmark,
headings in order, ids once, nothing wider than the window (1.4.10), targets of 24 pixels (2.5.8; no links in text).
"""

CHECKS = r"""() => {
  const faults = [];
  const visible = (el) => el.checkVisibility({visibilityProperty: true, contentVisibilityAuto: true})
    && el.getBoundingClientRect().width > 1;
  const where = (el) => `${el.tagName.toLowerCase()}#${el.id}.${el.className}`;

  const color = (text) => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    canvas.fillStyle = text;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return {rgb: [r, g, b], alpha: a / 255};
  };
  const over = (top, under) => top.rgb.map((one, i) => one * top.alpha + under[i] * (1 - top.alpha));
  const ground = (el) => {
    const layers = [];
    for (let at = el; at; at = at.parentElement) layers.push(color(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };

  for (const el of document.querySelectorAll("body *")) {
    const own = [...el.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!own || !visible(el) || el.closest("[disabled]")) continue;
    const style = getComputedStyle(el);
    const under = ground(el);
    const [high, low] = [luminance(over(color(style.color), under)), luminance(under)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) faults.push(`contrast ${ratio.toFixed(2)}: ${where(el)} ${el.textContent}`);
  }

  const name = (el) => (el.getAttribute("aria-label") || "").trim()
    || (el.labels && [...el.labels].map((label) => label.textContent).join(" ").trim())
    || el.textContent.trim() || (el.querySelector("img[alt]") || {}).alt || "";
  for (const el of document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")) {
    if (!visible(el)) continue;
    if (!name(el)) faults.push(`no name: ${where(el)}`);
    const {width, height} = el.getBoundingClientRect();
    const inText = el.tagName === "A" && getComputedStyle(el).display === "inline";
    if (!inText && (width < 24 || height < 24)) faults.push(`small target ${width}x${height}: ${where(el)}`);
  }
  for (const el of document.querySelectorAll("[aria-labelledby], [aria-describedby], [aria-controls]")) {
    for (const attribute of ["aria-labelledby", "aria-describedby", "aria-controls"]) {
      for (const id of (el.getAttribute(attribute) || "").split(/\s+/).filter(Boolean)) {
        if (!document.getElementById(id)) faults.push(`${attribute} of ${where(el)} names no element: ${id}`);
      }
    }
  }
  for (const image of document.querySelectorAll("img:not([alt])")) faults.push(`no alt: ${where(image)}`);

  const ids = [...document.querySelectorAll("[id]")].map((el) => el.id);
  for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i))) faults.push(`id twice: ${id}`);
  if (document.querySelectorAll("main").length !== 1) faults.push("not one main landmark");
  if (!document.documentElement.lang) faults.push("no language");
  if (!document.title.trim()) faults.push("no title");

  const headings = [...document.querySelectorAll("h1, h2, h3, h4")].filter((el) => el.checkVisibility());
  const levels = headings.map((el) => Number(el.tagName[1]));
  if (levels.filter((level) => level === 1).length !== 1) faults.push(`not one heading of level 1: ${levels}`);
  levels.forEach((level, i) => i && level > levels[i - 1] + 1 && faults.push(`h${level} after h${levels[i - 1]}`));

  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) faults.push("wider than the window");
  return faults;
}"""
