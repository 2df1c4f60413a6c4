"""A view of a structure that can be turned: HTML and a few lines of script, nothing fetched. DATA is replaced."""

VIEWER = """<canvas id="orbit-view" width="640" height="480" style="max-width:100%;touch-action:none;cursor:grab"
 role="img" aria-label="Structure coloured by orbit; drag to turn, wheel to zoom"></canvas>
<script>
(() => {
const data = DATA, canvas = document.getElementById("orbit-view"), draw = canvas.getContext("2d");
let a = -1.1, b = 0.5, zoom = 1, from = null, chosen = -1, spots = [];
function show() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches, w = canvas.width, h = canvas.height;
  const s = zoom * 0.45 * Math.min(w, h) / data.size, ca = Math.cos(a), sa = Math.sin(a);
  const cb = Math.cos(b), sb = Math.sin(b);
  const p = data.atoms.map(([x, y, z, r, color, name], i) => {
    const u = cb * x + sb * y, v = -sb * x + cb * y;
    return { i, x: w / 2 + s * u, y: h / 2 - s * (ca * z - sa * v), z: ca * v + sa * z, r: s * r, color, name };
  });
  draw.clearRect(0, 0, w, h);
  const lines = data.bonds.map(([i, j]) => ({ z: (p[i].z + p[j].z) / 2 + 1e-3, i, j }));
  const items = p.map(q => ({ z: q.z, q })).concat(lines);
  items.sort((m, n) => n.z - m.z);
  for (const t of items) {
    if (t.q) {
      draw.beginPath(); draw.arc(t.q.x, t.q.y, t.q.r, 0, 7); draw.fillStyle = t.q.color; draw.fill();
      draw.lineWidth = t.q.name === chosen ? 4 : 1; draw.strokeStyle = dark ? "#e3e7ec" : "#1d2530"; draw.stroke();
    } else {
      draw.beginPath(); draw.moveTo(p[t.i].x, p[t.i].y); draw.lineTo(p[t.j].x, p[t.j].y);
      draw.lineWidth = 2; draw.strokeStyle = dark ? "#9aa6b4" : "#596675"; draw.stroke();
    }
  }
  draw.font = "14px system-ui"; draw.fillStyle = dark ? "#e3e7ec" : "#1d2530";
  draw.fillText(chosen === -1 ? "drag: turn, wheel: zoom, click: orbit" : "orbit " + chosen, 10, 20);
  spots = p;
}
canvas.onpointerdown = e => { from = [e.clientX, e.clientY, 0]; canvas.setPointerCapture(e.pointerId); };
canvas.onpointermove = e => { if (!from) return;
  const x = e.clientX - from[0], y = e.clientY - from[1];
  b += 0.01 * x; a += 0.01 * y; from = [e.clientX, e.clientY, from[2] + Math.abs(x) + Math.abs(y)]; show(); };
canvas.onpointerup = e => { const still = from && from[2] < 4; from = null; if (!still) return;
  const box = canvas.getBoundingClientRect(), f = canvas.width / box.width;
  const x = (e.clientX - box.left) * f, y = (e.clientY - box.top) * f; let best = null;
  for (const q of spots) if (Math.hypot(q.x - x, q.y - y) < q.r && (!best || q.z < best.z)) best = q;
  chosen = best ? best.name : -1; show(); };
canvas.onwheel = e => { e.preventDefault(); zoom *= Math.exp(-0.001 * e.deltaY); show(); };
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
show();
})();
</script>"""
