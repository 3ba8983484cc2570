"use strict";
// Adds to the plain pages: dialogs, search and sorting in place, live update, Copy, local dates.
(() => {
  const byId = (id) => document.getElementById(id);
  const dialog = byId("dialog"), region = byId("table"), query = byId("q"), state = byId("state");
  const fragment = { "X-Pat-Fragment": "1" };
  const pollEvery = 5000, pollAtMost = 60000;
  const answerWithin = 60000;
  let leaving = false;

  const toSignIn = () => {
    leaving = true;
    location.assign("/sign-in?" + new URLSearchParams({ over: "1", return: location.pathname + location.search }));
  };
  // A live region only speaks when its text changes.
  const say = (id, text) => { const e = byId(id); if (e && e.textContent !== text) e.textContent = text; };

  const noteFor = 10000;
  let noteEnds = 0;
  /** note shows a message for a while. */
  const note = (text) => {
    say("status", text);
    clearTimeout(noteEnds);
    noteEnds = setTimeout(() => say("status", ""), noteFor);
  };

  // --- dates, in the visitor's language
  const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
  const minute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
  const localize = (root) => {
    for (const t of root.querySelectorAll("time[datetime]")) {
      const at = new Date(t.dateTime);
      if (isNaN(at)) continue;
      t.textContent = ("minute" in t.dataset ? minute : day).format(at);
      t.title = exact.format(at);
    }
  };
  // A chosen date ends in the visitor's time zone. The server alone would take UTC.
  document.addEventListener("formdata", (e) => {
    const ends = new Date(e.formData.get("date") + "T23:59:59");
    if (!isNaN(ends)) e.formData.set("dayEnds", ends.toISOString());
  });

  // --- the token: only in the DOM, until the visitor closes it or leaves the page
  const wipe = () => document.querySelectorAll("[data-token]").forEach((e) => e.remove());
  const uncopied = () => document.querySelector("[data-single]:not([data-copied]) [data-token]");
  /** copied marks the token as copied and makes Done the primary button. */
  const copied = (shown) => {
    shown.dataset.copied = "";
    const warning = byId("uncopied"), done = shown.querySelector("[data-close]"), button = shown.querySelector("[data-copy]");
    if (warning) warning.hidden = true;
    if (done?.dataset.was) done.textContent = done.dataset.was;
    button.textContent = "✓ Copied";
    button.classList.remove("primary");
    done?.classList.add("primary");
  };
  const copy = async (button) => {
    const shown = button.closest(".shown"), ofToken = "copy" in button.dataset, said = shown.querySelector(".said");
    const text = ofToken ? shown.querySelector("[data-token]") : button.previousElementSibling;
    try {
      await navigator.clipboard.writeText(text.textContent);
      if (ofToken) copied(shown); else button.textContent = "✓ Copied";
      said.textContent = "";
      requestAnimationFrame(() => { said.textContent = "Copied."; });
    } catch {
      getSelection().selectAllChildren(text);
      text.focus();
      said.textContent = "This browser does not let the page copy. The text is selected: press Ctrl+C, or ⌘C.";
    }
  };
  document.addEventListener("copy", () => {
    const token = uncopied();
    if (token && getSelection().toString().trim() === token.textContent.trim()) copied(token.closest(".shown"));
  });
  /** mayClose returns whether the token may be closed. The first time it warns if the token was not copied. */
  const mayClose = (root) => {
    const warning = root.querySelector("#uncopied"), done = root.querySelector("[data-confirm]");
    if (!uncopied() || !warning || !warning.hidden) return true;
    warning.hidden = false;
    done.dataset.was = done.textContent;
    done.textContent = done.dataset.confirm;
    root.querySelector("[data-copy]").focus();
    return false;
  };
  // The form that is waiting for its response, which may be the only one with a token.
  let sent = null, sentNow = false;
  addEventListener("beforeunload", (e) => {
    const byForm = sentNow; // a form outside the dialog leaves the page
    sentNow = false;
    if (!leaving && !byForm && (uncopied() || sent && "makes" in sent.dataset)) e.preventDefault();
  });
  addEventListener("pagehide", wipe);
  addEventListener("pageshow", (e) => { if (e.persisted) location.reload(); });

  // --- dialogs
  let opener = null, changed = false, asking = null;
  const prepare = (root) => {
    localize(root);
    root.querySelectorAll("[data-utc]").forEach((e) => e.remove());
    root.querySelectorAll("[data-copy], [data-copies]").forEach((b) => { b.hidden = false; });
  };
  /** show puts a fragment into the dialog. The server has escaped all texts in it. */
  const show = (html) => {
    wipe();
    dialog.innerHTML = html;
    prepare(dialog);
    if (dialog.querySelector("[data-changed]")) changed = true;
    dialog.querySelectorAll("[data-distinct]").forEach(distinct);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    const wrong = dialog.querySelector("[aria-invalid]");
    (wrong || dialog.querySelector("[autofocus], [data-changed] [data-copy]") || byId("dialog-title"))?.focus();
  };
  /** distinct warns if another token in the table has the same name. */
  const distinct = (field) => {
    const name = field.value.trim().toLowerCase();
    byId("same-name").hidden = !name || ![...region?.querySelectorAll("tbody .name a") ?? []].some((a) =>
      a.textContent.trim().toLowerCase() === name && !field.form.action.startsWith(a.href + "/"));
  };
  document.addEventListener("input", (e) => { if ("distinct" in e.target.dataset) distinct(e.target); });
  /** tell shows a message in the open dialog, or else on the page. */
  const tell = (text, kind) => {
    if (!dialog.open) return say("trouble", text);
    let e = dialog.querySelector(".told");
    if (!e) {
      e = document.createElement("p");
      e.setAttribute("role", "alert");
      dialog.querySelector(".buttons")?.before(e);
    }
    e.className = "told " + kind;
    e.textContent = text;
  };
  // The form keeps its input while the visitor signs in.
  const signInBeside = () => {
    tell("Your session is over, and nothing was done. What you typed is still here. Sign in in a new tab, then press the button again: ", "err");
    const link = document.createElement("a");
    Object.assign(link, { href: "/sign-in", target: "_blank", textContent: "Sign in" });
    dialog.querySelector(".told").append(link);
  };
  const close = () => {
    if (sent) tell("Wait a moment: the answer is on its way.", "hint");
    else if (mayClose(dialog)) {
      dialog.close();
      closed(); // the close event comes later, when another dialog may be open
    }
  };
  const closed = () => {
    if (dialog.open || !dialog.firstChild) return;
    // Browsers may close a dialog without a cancel event, for example on a second Back gesture.
    if (!mayClose(dialog)) return dialog.showModal();
    // Keep a request that a click started after the dialog closed and before this event.
    if (!sent && asking?.within) { asking.abort(); asking = null; }
    wipe();
    dialog.replaceChildren();
    if (changed) refresh();
    changed = false;
    focusAgain(opener);
    if (!asking) opener = null;
  };
  /** hold keeps the dialog open while a sent form waits for its response; null releases it. */
  const hold = (form) => {
    sent = form;
    dialog.querySelector("[data-close]")?.setAttribute("aria-disabled", String(form !== null));
  };
  /**
   * ask fetches a fragment for the dialog, with a form or a link, and shows it. A new request aborts an earlier one, but never
   * that of a form. Nothing replaces a token that was not copied.
   */
  const ask = async (url, form, control) => {
    if (sent || uncopied()) return;
    asking?.abort();
    const mine = asking = Object.assign(new AbortController(), { within: dialog.open }), late = setTimeout(() => mine.abort(), answerWithin);
    const how = form ? { method: "POST", body: new URLSearchParams(new FormData(form)) } : {};
    let did = "";
    if (form) hold(form);
    control?.setAttribute("aria-busy", "true");
    say("trouble", "");
    say("status", ""); // so that the same text is announced again
    try {
      const r = await fetch(url, { ...how, headers: fragment, redirect: "manual", cache: "no-store", signal: mine.signal });
      if (r.status === 401 || r.type === "opaqueredirect") return form ? signInBeside() : toSignIn();
      if (form && r.status === 413) return tell("This is too long to send, and nothing was done. Enter fewer or shorter recipients, then press the button again.", "err");
      if (r.status === 204) {
        did = decodeURIComponent(r.headers.get("X-Pat-Did") || "Done.");
      } else {
        const html = await r.text();
        mine.signal.throwIfAborted();
        // Every fragment has a title. The error page of a gateway would be a dialog without Close.
        if (!html.includes('id="dialog-title"')) throw new Error(String(r.status));
        show(html);
      }
    } catch {
      if (mine === asking) tell("The console does not answer. " + (form && "makes" in form.dataset
        ? "It may have created a token anyway: look at the table before you try again." : form ? "Try again in a moment." : "Nothing was changed. Try again in a moment."), "err");
    } finally {
      clearTimeout(late);
      if (mine === asking) asking = null;
      if (form) hold(null);
      control?.removeAttribute("aria-busy");
    }
    if (!did) return;
    dialog.close();
    await refresh();
    note(did);
  };

  // --- the table
  const keyOf = (e) => e && (e.dataset.sort || e.getAttribute("href"));
  /** focusAgain focuses a control, or the one that replaced it. */
  const focusAgain = (e) => {
    if (!e) return;
    const key = keyOf(e);
    const same = e.isConnected ? e : [...document.querySelectorAll("main a")].find((a) => key && keyOf(a) === key);
    (same || region || byId("main")).focus();
  };
  const words = () => query.value.toLowerCase().split(/\s+/).filter(Boolean);
  const filter = () => {
    const rows = region.querySelectorAll("tbody tr"), table = region.querySelector("table"), none = byId("no-match");
    if (!table) return say("count", "");
    const wanted = words();
    let shown = 0;
    for (const row of rows) {
      const is = row.dataset.state;
      row.hidden = !wanted.every((w) => row.dataset.words.includes(w)) ||
        state.value !== "" && is !== state.value && !(state.value === "active" && is === "expiring-soon"); // which is active
      if (!row.hidden) shown++;
    }
    table.hidden = shown === 0;
    none.hidden = shown > 0;
    byId("no-match-words").textContent = query.value.trim();
    const all = rows.length + (rows.length === 1 ? " token" : " tokens"), first = "truncated" in table.dataset;
    say("count", shown < rows.length ? shown + (first ? " of the first " : " of ") + all : (first ? "The first " : "") + all);
  };
  /** remember writes search and filter into the address and the links, without a new history entry. */
  const remember = () => {
    const kept = { q: query.value.trim(), state: state.value };
    const withSearch = (url) => {
      for (const [name, value] of Object.entries(kept)) {
        if (value) url.searchParams.set(name, value); else url.searchParams.delete(name);
      }
      return url;
    };
    const here = withSearch(new URL(location.href));
    history.replaceState(null, "", here);
    for (const e of document.querySelectorAll("[data-keep-search]")) {
      if (e.href) e.href = withSearch(new URL(e.href)); else e.value = kept[e.name];
    }
  };
  let etag = "", asked = 0, wait = pollEvery;
  const refresh = async () => {
    if (!region) return;
    const mine = ++asked, busy = setTimeout(() => region.setAttribute("aria-busy", "true"), 300);
    try {
      const headers = etag ? { ...fragment, "If-None-Match": etag } : fragment;
      const r = await fetch(region.dataset.src, { headers, redirect: "manual", cache: "no-store" });
      if (mine !== asked) return;
      // An open dialog may hold a token, so wait until it is closed.
      if (r.status === 401 || r.type === "opaqueredirect") return dialog.open ? undefined : toSignIn();
      if (r.status !== 304) {
        if (!r.ok) throw new Error(String(r.status));
        const html = await r.text();
        // Keep a control that is being pressed, so that its click finds it.
        if (mine !== asked || region.matches(":active")) return;
        const focused = region.contains(document.activeElement) ? document.activeElement : null;
        region.innerHTML = html;
        etag = r.headers.get("ETag") || "";
        prepare(region);
        filter();
        focusAgain(focused);
      }
      wait = pollEvery;
      say("trouble", "");
    } catch {
      if (mine !== asked) return;
      wait = Math.min(wait * 2, pollAtMost);
      say("trouble", "Not up to date: the console does not answer. Trying again.");
    } finally {
      clearTimeout(busy);
      if (mine === asked) region.removeAttribute("aria-busy");
    }
  };
  const poll = async () => {
    if (!document.hidden && !dialog.open) await refresh();
    setTimeout(poll, wait);
  };
  const sortBy = (order) => {
    const url = new URL(location.href), src = new URL(region.dataset.src, location.href);
    url.searchParams.set("sort", order);
    src.searchParams.set("sort", order);
    byId("sort").value = order;
    region.dataset.src = src.pathname + src.search;
    etag = "";
    history.replaceState(null, "", url);
    remember();
    refresh();
  };

  // --- events
  document.addEventListener("click", (e) => {
    const a = e.target.closest("a, button");
    if (!a || e.button || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
    if ("copy" in a.dataset || "copies" in a.dataset) return void copy(a);
    if ("close" in a.dataset) {
      if (dialog.contains(a)) { e.preventDefault(); close(); }
      else if (sent) return;
      else if (mayClose(document)) leaving = true;
      else e.preventDefault();
    } else if ("dialog" in a.dataset && region) {
      e.preventDefault();
      if (a.getAttribute("aria-busy") || sent) return;
      if (!dialog.contains(a)) opener = a;
      ask(a.href, null, a);
    } else if ("sort" in a.dataset) {
      e.preventDefault();
      sortBy(new URL(a.href).searchParams.get("sort"));
    } else if ("clear" in a.dataset) {
      e.preventDefault();
      query.value = state.value = "";
      filter();
      remember();
      query.focus();
    }
  });
  document.addEventListener("submit", (e) => {
    const form = e.target, button = e.submitter || form.querySelector("button");
    if (form.getAttribute("role") === "search") { e.preventDefault(); filter(); remember(); return; }
    if (button?.getAttribute("aria-busy")) return e.preventDefault();
    if (!dialog.contains(form)) {
      if (form.method !== "post") return;
      button?.setAttribute("aria-busy", "true");
      if ("makes" in form.dataset) { sent = form; sentNow = true; }
      return;
    }
    e.preventDefault();
    ask(form.action, form, button);
  });
  dialog.addEventListener("cancel", (e) => { e.preventDefault(); close(); });
  // Browsers close the dialog without a cancel event on a second Escape.
  dialog.addEventListener("keydown", (e) => { if (e.key === "Escape") { e.preventDefault(); close(); } });
  dialog.addEventListener("close", closed);

  prepare(document);
  note(byId("status")?.textContent ?? "");
  if (!region) return;
  let typing = 0;
  query.addEventListener("input", () => {
    filter();
    clearTimeout(typing);
    typing = setTimeout(remember, 300);
  });
  byId("sort").addEventListener("change", (e) => sortBy(e.target.value));
  state.addEventListener("change", () => { filter(); remember(); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !dialog.open) refresh(); });
  // The server sent only the rows that match. The next search needs all rows.
  if ("searched" in region.dataset) refresh();
  setTimeout(poll, pollEvery);
})();
