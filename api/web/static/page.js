// Everything here is an extra: each page works without it. Words come from the page, never from this file.
"use strict";

const PREFIX = "draft:";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const first = (selector, root = document) => root.querySelector(selector);

// A browser may refuse to keep anything (private window, full disk); then there is no draft, and no error.
const kept = {
  read(key) { try { return JSON.parse(localStorage.getItem(PREFIX + key) || "null"); } catch { return null; } },
  write(key, text) { try { localStorage.setItem(PREFIX + key, JSON.stringify({ text })); return true; } catch { return false; } },
  drop(key) { try { localStorage.removeItem(PREFIX + key); } catch { /* nothing was kept */ } },
  forget() { try { Object.keys(localStorage).filter((key) => key.startsWith(PREFIX)).forEach((key) => localStorage.removeItem(key)); } catch { /* nothing was kept */ } },
};

function countWords(area, box) {
  const shown = first("[data-words]", box);
  const words = (area.value.match(/\S+/g) || []).length;
  shown.textContent = (words === 1 ? shown.dataset.one : shown.dataset.other).replace("{n}", words.toLocaleString());
  shown.hidden = false;
}

function setUpEditor(box) {
  const area = first("textarea", box);
  const key = area.dataset.draft;
  const notice = first("[data-draft-notice]", box);
  const [said, act] = [first("span", notice), first("button", notice)];
  let waiting = 0;

  const put = (text) => { area.value = text; countWords(area, box); };
  const save = () => {
    clearTimeout(waiting);
    waiting = 0;
    if (area.value.trim()) first("[data-saved]", box).hidden = !kept.write(key, area.value);
    else { kept.drop(key); first("[data-saved]", box).hidden = true; }
  };
  const tell = (text, label, action) => {
    said.textContent = text;
    act.textContent = label;
    act.onclick = () => { action(); notice.hidden = true; area.focus(); };
    notice.hidden = false;
  };

  const draft = kept.read(key);
  const navigation = performance.getEntriesByType("navigation")[0];
  const cameBack = navigation && navigation.type !== "navigate";
  if (draft && draft.text !== area.value && (area.defaultValue === "" || cameBack)) {
    put(draft.text);
    tell(said.dataset.text, act.dataset.drop, () => { put(""); kept.drop(key); });
  }
  countWords(area, box);

  area.addEventListener("input", () => {
    countWords(area, box);
    if (!waiting) waiting = setTimeout(save, 300);
  });
  addEventListener("pagehide", () => { if (waiting) save(); });
  // The same question in another tab: say so and offer its words, take nothing away.
  addEventListener("storage", (event) => {
    const theirs = event.key === PREFIX + key ? kept.read(key) : null;
    if (theirs && theirs.text !== area.value) tell(said.dataset.other, act.dataset.take, () => { put(theirs.text); save(); });
  });
  return { save };
}

function setUpSending(form, editor) {
  const area = first("textarea", form);
  const [sending, unreachable, status] = ["[data-sending]", "[data-unreachable]", "[data-status]"].map((one) => first(one, form));
  const main = first("[data-main]", form);
  const label = main.textContent;
  let state = "idle"; // idle -> asking whether the service is there -> sent

  const show = (busy) => {
    sending.hidden = !busy;
    status.textContent = busy ? status.dataset.busy : "";
    form.setAttribute("aria-busy", String(busy));
    all("button[type=submit]", form).forEach((button) => button.setAttribute("aria-disabled", String(busy)));
    main.textContent = busy && main.dataset.busy ? main.dataset.busy : label;
  };

  form.addEventListener("submit", async (event) => {
    if (state === "sent") return;
    event.preventDefault();
    if (state === "asking") return;
    state = "asking";
    editor.save();
    unreachable.hidden = true;
    show(true);
    try {
      // Only a service that cannot be reached stops the form: a slow one is waited for, after two seconds by the browser.
      await fetch("/healthz", { cache: "no-store", signal: AbortSignal.timeout(2000) });
    } catch (error) {
      if (error.name !== "TimeoutError") {
        state = "idle";
        show(false);
        unreachable.hidden = false;
        area.focus();
        return;
      }
    }
    state = "sent";
    form.requestSubmit(event.submitter);
  });
  // Back from the result: the page may come out of the browser's memory just as it was left.
  addEventListener("pageshow", () => { state = "idle"; show(false); });
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); form.requestSubmit(main); }
  });
  const shortcut = first("[data-shortcut]", form);
  if (shortcut && matchMedia("(hover: hover)").matches) shortcut.hidden = false;
}

function setUpDictation(form) {
  const Recognition = window.SpeechRecognition || window.webkitSpeechRecognition;
  const button = first("[data-dictate]", form);
  if (!Recognition || !button) return;
  const area = first("textarea", form);
  const note = first("[data-dictation-note]", form);
  const label = button.textContent;
  let listening = null;
  first("[data-dictation]", form).hidden = false;

  const stop = () => {
    listening = null;
    button.textContent = label;
    button.setAttribute("aria-pressed", "false");
  };
  button.addEventListener("click", () => {
    note.hidden = false;
    if (listening) { listening.stop(); return; }
    listening = new Recognition();
    listening.continuous = true;
    listening.lang = document.documentElement.lang;
    listening.onresult = (event) => {
      for (let at = event.resultIndex; at < event.results.length; at += 1) {
        if (!event.results[at].isFinal) continue;
        const gap = area.value && !/\s$/.test(area.value) ? " " : "";
        area.value += gap + event.results[at][0].transcript.trim();
        area.dispatchEvent(new Event("input"));
      }
    };
    listening.onerror = () => { note.textContent = note.dataset.failed; };
    listening.onend = stop;
    button.textContent = button.dataset.stop;
    button.setAttribute("aria-pressed", "true");
    listening.start();
  });
}

// A point and its words in the answer light each other up, under the mouse and under the keyboard's focus.
function setUpLinks(root) {
  const numbersOf = (element) => {
    const found = element.closest("[data-point], [data-points]");
    return found ? (found.dataset.point || found.dataset.points).split(" ") : [];
  };
  const light = (event) => {
    const numbers = numbersOf(event.target);
    const marks = all("mark[data-points]", root);
    const lit = marks.filter((mark) => mark.dataset.points.split(" ").some((number) => numbers.includes(number)));
    marks.forEach((mark) => mark.classList.toggle("lit", lit.includes(mark)));
    all(".answer", root).forEach((box) => box.classList.toggle("lighting", lit.length > 0));
    all(".point", root).forEach((point) => point.classList.toggle("lit", lit.length > 0 && numbers.includes(point.dataset.point)));
  };
  root.addEventListener("mouseover", light);
  root.addEventListener("focusin", light);
  root.addEventListener("mouseleave", () => light({ target: document.activeElement && root.contains(document.activeElement) ? document.activeElement : root }));
  root.addEventListener("focusout", (event) => { if (!root.contains(event.relatedTarget)) light({ target: root }); });
}

function setUpTimer(shown) {
  const tick = () => {
    const seconds = Math.max(0, Math.round(Number(shown.dataset.ends) - Date.now() / 1000));
    const clock = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    shown.textContent = seconds ? shown.dataset.left.replace("{}", clock) : shown.dataset.over;
    shown.parentElement.classList.toggle("over", !seconds);
  };
  tick();
  setInterval(tick, 1000);
}

all("form[data-send]").forEach((form) => {
  const editor = setUpEditor(first("[data-editor]", form));
  setUpSending(form, editor);
  setUpDictation(form);
});
all("[data-linked]").forEach(setUpLinks);
all("[data-ends]").forEach(setUpTimer);
if (first("[data-forget-drafts]")) kept.forget();
