"""LatentSync 1.0, the model: UNet, VAE, Whisper features, denoising, face alignment and paste-back. Knows no server."""
