"""GLSL sources: one vertex stage for everything that is part of the head, one fragment stage for each material."""

from __future__ import annotations

VERSION = "#version 330\n"

VERTEX = """
in vec3 position; in vec3 normal; in vec2 uv; in vec3 local; in vec4 bake;
uniform mat4 clip; uniform mat4 head; uniform vec3 breath;
out vec3 world, n, l; out vec2 t; out vec4 b;
// bake: ambient occlusion, visibility of the key light, weight with which the vertex follows the head, scalp height.
void main() {
    vec3 still = position;
    still.y += breath.x * smoothstep(-0.9, -1.5, position.y);
    still.z += breath.y * smoothstep(-1.1, -2.2, position.y) * smoothstep(-0.4, 0.7, position.z);
    vec3 turned = (head * vec4(position, 1)).xyz;
    world = mix(still, turned, bake.z);
    n = mix(normal, mat3(head) * normal, bake.z);
    t = uv; l = local; b = bake;
    gl_Position = clip * vec4(world, 1);
}
"""

STUDIO_LIGHT = """
const vec3 KEY = vec3(-0.52, 0.50, 0.69), FILL = vec3(0.80, 0.10, 0.59);
const vec3 RIM_R = vec3(0.80, 0.30, -0.52), RIM_L = vec3(-0.86, 0.22, -0.46);
const vec3 KEY_COLOUR = vec3(1.0, 0.93, 0.85) * 1.62, FILL_COLOUR = vec3(0.80, 0.88, 1.0) * 0.26;
const vec3 RIM_COLOUR = vec3(1.0, 0.88, 0.74) * 2.2, RIM_COOL = vec3(0.62, 0.80, 1.0) * 1.3;
const vec3 SKY = vec3(0.62, 0.68, 0.80) * 0.36, GROUND = vec3(0.60, 0.46, 0.40) * 0.24;
"""

LIGHTING = """
uniform vec3 eye_point;
vec3 wrapped(float cosine, vec3 wrap) { return clamp((vec3(cosine) + wrap) / (1.0 + wrap), 0.0, 1.0); }
float lobe(vec3 n, vec3 v, vec3 l, float roughness) {
    vec3 h = normalize(v + l);
    float a = roughness * roughness, nh = max(dot(n, h), 0.0), nl = max(dot(n, l), 0.0), nv = max(dot(n, v), 0.05);
    float d = nh * nh * (a * a - 1.0) + 1.0;
    float k = a * 0.5;
    float shadowing = 1.0 / ((nl * (1.0 - k) + k) * (nv * (1.0 - k) + k));
    float fresnel = 0.03 + 0.97 * pow(1.0 - clamp(dot(v, h), 0.0, 1.0), 5.0);
    return a * a / (3.1416 * d * d) * 0.25 * shadowing * fresnel * nl;
}
// Light that reaches a surface, per channel wrapped around the terminator by `wrap`.
vec3 diffuse(vec3 n, float occlusion, float visible, vec3 wrap) {
    occlusion = max(occlusion, 0.0);
    vec3 seen = pow(vec3(max(visible, 0.0)), vec3(1.0) - wrap * 0.8);
    vec3 ambient = mix(GROUND, SKY, n.y * 0.5 + 0.5) * pow(vec3(occlusion), vec3(1.0) - wrap * 0.7);
    vec3 fill = wrapped(dot(n, FILL), wrap) * FILL_COLOUR * mix(occlusion, 1.0, 0.3);
    vec3 rim = wrapped(dot(n, RIM_R), wrap * 0.3) * RIM_COLOUR + wrapped(dot(n, RIM_L), wrap * 0.3) * RIM_COOL;
    return wrapped(dot(n, KEY), wrap) * seen * KEY_COLOUR + fill + ambient + rim * occlusion;
}
float gloss(vec3 n, vec3 v, float visible, float occlusion, float roughness) {
    visible = max(visible, 0.0);
    return lobe(n, v, KEY, roughness) * 2.4 * visible + lobe(n, v, FILL, roughness) * 0.7 * occlusion
        + (lobe(n, v, RIM_R, roughness) * 0.9 + lobe(n, v, RIM_L, roughness) * 0.6) * occlusion;
}
// Narkowicz's fit of the ACES curve (2015), then the display's gamma.
vec4 filmic(vec3 c) {
    c *= 0.80;
    c = clamp(c * (2.51 * c + 0.03) / (c * (2.43 * c + 0.59) + 0.14), 0.0, 1.0);
    return vec4(pow(c, vec3(1.0 / 2.2)), 1.0);
}
"""

LIGHT = STUDIO_LIGHT + LIGHTING

_IN = "in vec3 world, n, l; in vec2 t; in vec4 b; out vec4 colour;\n"

SKIN = """
uniform sampler2D paint, masks; uniform vec2 paint_origin, paint_scale;
uniform vec3 hair_colour, lip_colour; uniform float hair_cover;
void main() {
    // Skin well below the neckline is covered by clothes.
    if (l.y + 0.62 * (l.z - 0.30) + 0.10 * l.x * l.x + 1.27 < -0.12) discard;
    vec3 m = texture(masks, t).rgb;
    vec4 p = texture(paint, (l.xy - paint_origin) * paint_scale);
    vec3 albedo = p.rgb * p.rgb;
    float lip = m.r, inside = m.b;
    vec3 normal = normalize(n), v = normalize(eye_point - world);
    vec3 lip_tone = lip_colour * (0.72 + 0.55 * p.a);
    albedo = mix(albedo, lip_tone, 0.72 * smoothstep(0.10, 0.90, lip));
    albedo = mix(albedo, albedo * vec3(0.90, 0.66, 0.60), 0.40 * m.g);
    float front = smoothstep(0.62, 0.95, l.z);
    albedo = mix(albedo, vec3(0.16, 0.035, 0.030), inside);
    float scalp = hair_cover * smoothstep(-0.03, 0.10, b.w + 0.05 * (p.a - 0.5));
    albedo = mix(albedo, hair_colour * 0.35, scalp);
    float occlusion = mix(b.x, front * front * 0.55, inside), visible = mix(b.y, front * 0.35, inside);
    // Hair casts a soft shadow below the hairline.
    occlusion *= mix(1.0, 0.62, hair_cover * smoothstep(-0.14, 0.02, b.w) * (1.0 - scalp));
    vec3 wrap = mix(vec3(0.42, 0.20, 0.13), vec3(0.1), scalp);
    vec3 c = albedo * diffuse(normal, occlusion, visible, wrap);
    float wet = max(lip, inside * 0.6);
    float oil = max(1.5 * p.a - 0.22, 0.0) + 0.35 * exp(-8.0 * l.x * l.x) * step(-0.15, l.y) * p.a * 2.0;
    c += vec3(gloss(normal, v, visible, occlusion, 0.47)) * oil * (1.0 - wet) * (1.0 - scalp) * 0.9;
    c += vec3(gloss(normal, v, visible, occlusion, 0.33)) * wet * (0.25 + 0.75 * p.a) * mix(0.9, 0.35, inside);
    float grazing = pow(1.0 - clamp(dot(normal, v), 0.0, 1.0), 3.0);
    c += albedo * vec3(0.30, 0.12, 0.08) * grazing * occlusion * (1.0 - scalp);
    colour = filmic(c);
}
"""

EYE = """
uniform sampler2D paint; uniform vec3 iris_colour;
float window(vec3 r, vec3 to, float w, float h) {
    vec3 side = normalize(cross(vec3(0, 1, 0), to)), up = cross(to, side);
    vec2 q = abs(vec2(dot(r, side), dot(r, up))) / vec2(w, h);
    return step(0.0, dot(r, to)) * smoothstep(1.15, 0.85, q.x) * smoothstep(1.15, 0.85, q.y);
}
void main() {
    float r = length(l.xy), angle = atan(l.y, l.x);
    float iris_edge = 0.53, pupil = 0.205;
    float fibre = 0.5 + 0.22 * sin(angle * 41.0 + 5.0 * sin(r * 14.0)) + 0.18 * sin(angle * 67.0 - r * 23.0)
        + 0.10 * sin(angle * 23.0 + r * 31.0);
    float q = clamp((r - pupil) / (iris_edge - pupil), 0.0, 1.0);
    vec3 iris = iris_colour * (0.45 + 0.9 * fibre) * mix(1.25, 0.75, q);
    iris = mix(iris, iris * vec3(1.7, 1.15, 0.6), exp(-14.0 * q * q) * 0.55);
    iris *= 1.0 - 0.80 * smoothstep(0.72, 1.0, q);
    iris *= 0.75 + 1.1 * smoothstep(-0.1, 0.9, dot(l.xy, vec2(0.52, -0.62)) / iris_edge);
    vec3 white = vec3(0.50, 0.465, 0.445) * mix(vec3(1), vec3(1.0, 0.80, 0.76), smoothstep(0.62, 1.0, abs(l.x)));
    vec3 albedo = mix(iris, white, smoothstep(iris_edge - 0.045, iris_edge + 0.045, r));
    albedo = mix(vec3(0.006), albedo, smoothstep(pupil - 0.03, pupil + 0.03, r));
    if (l.z < 0.0) albedo = white;
    vec3 normal = normalize(n), v = normalize(eye_point - world);
    float lid = smoothstep(0.60, 0.02, l.y + 0.16 * l.x * l.x) * smoothstep(1.05, 0.55, abs(l.x));
    lid = 0.22 + 0.78 * lid;
    vec3 c = albedo * diffuse(normal, lid, lid, vec3(0.45, 0.38, 0.36)) * 0.92;
    vec3 bulge = normalize(normal + vec3(l.xy, 0) * 0.55 * smoothstep(0.62, 0.30, r));
    vec3 mirrored = reflect(-v, bulge);
    float cornea = smoothstep(0.62, 0.5, r);
    float lamp = window(mirrored, normalize(vec3(-0.50, 0.56, 0.66)), 0.20, 0.22);
    c += vec3(1.0, 0.98, 0.95) * lamp * (0.25 + 2.3 * cornea);
    c += vec3(0.75, 0.86, 1.0) * window(mirrored, normalize(vec3(0.62, 0.10, 0.78)), 0.10, 0.26) * 0.22 * cornea;
    c += vec3(gloss(normal, v, lid, lid, 0.22)) * 0.5 * (1.0 - cornea);
    colour = filmic(c);
}
"""

TEETH = """
uniform float opening; uniform vec3 teeth_colour;
void main() {
    vec3 normal = normalize(n), v = normalize(eye_point - world);
    if (dot(normal, v) < 0.0) normal = -normal;
    float x = abs(l.x);
    float gap = min(min(x, abs(x - 0.092)), min(abs(x - 0.165), abs(x - 0.235)));
    float upper = step(t.y, 0.898);
    vec3 albedo = teeth_colour * mix(0.62, 1.0, smoothstep(0.0, 0.016, gap));
    albedo = mix(albedo, vec3(0.48, 0.17, 0.16), smoothstep(-0.215, -0.190, l.y) * upper);
    float depth = smoothstep(0.50, 0.89, l.z), light = mix(0.06, 0.85, opening) * smoothstep(0.30, 0.14, x);
    float under_lip = mix(0.55, 1.0, smoothstep(-0.20, -0.29, l.y)) * mix(0.75, 1.0, upper);
    float seen = depth * light * under_lip;
    vec3 c = albedo * diffuse(normal, seen, seen * 0.8, vec3(0.45, 0.40, 0.35)) * mix(0.5, 0.86, depth);
    c += vec3(gloss(normal, v, seen, seen, 0.25)) * 0.7 * seen;
    colour = filmic(c);
}
"""

TONGUE = """
uniform float opening;
void main() {
    vec3 normal = normalize(n), v = normalize(eye_point - world);
    float seen = smoothstep(0.35, 0.85, l.z) * mix(0.05, 0.6, opening);
    vec3 c = vec3(0.24, 0.062, 0.060) * diffuse(normal, seen, seen * 0.8, vec3(0.4, 0.25, 0.2));
    c += vec3(gloss(normal, v, seen, seen, 0.35)) * 0.5 * seen;
    colour = filmic(c);
}
"""

LASH = """
void main() { colour = filmic(mix(vec3(0.010, 0.007, 0.006), vec3(0.05, 0.03, 0.022), t.y * 0.6)); }
"""

BACKDROP_VERTEX = """
in vec2 position; uniform mat4 view; out vec2 t;
void main() { t = position * 0.5 + 0.5; gl_Position = view * vec4(position, 0.9999, 1.0); }
"""

BACKDROP = """
uniform sampler2D picture; in vec2 t; out vec4 colour;
void main() { colour = texture(picture, t); }
"""


def fragment(material: str, light: str = LIGHT) -> str:
    """Whole fragment source of a lit material."""
    return VERSION + _IN + light + material
