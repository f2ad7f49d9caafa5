/** Where the engine listens, and its clients look, when nobody says otherwise. */
export const DEFAULT_HOST = "unix:///run/linkspan/docker.sock";
