"""Where the figures of runs go beside their folders: TensorBoard, Weights & Biases, MLflow, Aim."""
