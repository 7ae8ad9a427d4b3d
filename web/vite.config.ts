import { defineConfig } from "vite";

const api = "http://localhost:8000";

export default defineConfig({
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    reportCompressedSize: true,
    rolldownOptions: { input: ["index.html", "people.html"] },
  },
  server: {
    port: 5173,
    proxy: {
      "/v1/ws": { target: api, ws: true },
      "/v1": api,
      "/config.json": api,
      "/healthz": api,
      "/readyz": api,
      "/openapi.json": api,
      "/docs": api,
    },
  },
});
